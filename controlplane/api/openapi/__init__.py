"""The API's description of itself: OpenAPI 3.1 and a page for people, both made from what the routes say."""
