"""The HTTP edge: decode, authenticate, translate, call one flow, encode."""
