"""The composition root: settings → stores → flows → app. The only room that knows every other one."""
