"""The regions that a local fleet may pretend to be in."""

from dataclasses import dataclass

__all__ = ["DEFAULT_REGIONS", "KNOWN_REGIONS", "DevelopmentRegion", "region_named"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentRegion:
    """As `PUT /api/v1/fleet/regions/{slug}` takes it; `country` is ISO 3166 alpha-2, coordinates are degrees."""

    slug: str
    name: str
    city: str
    country: str
    latitude: float
    longitude: float


def _known(slug: str, name: str, city: str, country: str, latitude: float, longitude: float) -> DevelopmentRegion:
    return DevelopmentRegion(slug=slug, name=name, city=city, country=country, latitude=latitude, longitude=longitude)


KNOWN_REGIONS = {
    region.slug: region
    for region in (
        _known("eu-central", "EU Central", "Frankfurt", "DE", 50.11, 8.68),
        _known("us-east", "US East", "Ashburn", "US", 39.04, -77.49),
        _known("us-west", "US West", "San Jose", "US", 37.34, -121.89),
        _known("us-central", "US Central", "Dallas", "US", 32.78, -96.80),
        _known("eu-west", "EU West", "Dublin", "IE", 53.35, -6.26),
        _known("eu-north", "EU North", "Stockholm", "SE", 59.33, 18.07),
        _known("eu-south", "EU South", "Milan", "IT", 45.46, 9.19),
        _known("ca-central", "Canada Central", "Montreal", "CA", 45.50, -73.57),
        _known("sa-east", "South America East", "São Paulo", "BR", -23.55, -46.63),
        _known("af-south", "Africa South", "Cape Town", "ZA", -33.92, 18.42),
        _known("me-central", "Middle East Central", "Dubai", "AE", 25.20, 55.27),
        _known("ap-south", "Asia Pacific South", "Mumbai", "IN", 19.08, 72.88),
        _known("singapore", "Singapore", "Singapore", "SG", 1.35, 103.82),
        _known("ap-southeast", "Asia Pacific Southeast", "Singapore", "SG", 1.35, 103.82),
        _known("ap-northeast", "Asia Pacific Northeast", "Tokyo", "JP", 35.68, 139.69),
        _known("au-southeast", "Australia Southeast", "Sydney", "AU", -33.87, 151.21),
    )
}
DEFAULT_REGIONS = ("eu-central", "us-east")


def region_named(slug: str) -> DevelopmentRegion:
    """A known region, or one of that name at 0° N 0° E."""
    return KNOWN_REGIONS.get(slug) or _known(slug, slug, slug, "ZZ", 0.0, 0.0)
