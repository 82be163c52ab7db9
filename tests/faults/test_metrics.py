"""What the metrics of an API process say while a store is away, and after."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from controlplane import __version__
from tests.faults.loaded_fleet import loaded_fleet
from tests.running_api import RunningApi, until

Values = Mapping[tuple[str, ...], float]
"""Name without the prefix and values of the labels → value."""


async def scraped(api: RunningApi) -> Values:
    text = (await api.client.get(api.metrics_url)).text
    return {
        (sample.name.removeprefix("turnfleet_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_store_that_is_away_is_seen_and_that_it_is_back() -> None:
    async with loaded_fleet() as (api, postgres, redis):

        async def say(wanted: Values) -> None:
            async def said() -> bool:
                values = await scraped(api)
                return all(values.get(name) == value for name, value in wanted.items())

            await until(said, what=f"the metrics say {wanted}")

        well: Values = {("unready",): 0, ("redis_unreachable",): 0, ("database_unreachable",): 0, ("view_held",): 0}
        await say({**dict(well), ("eligible_nodes", "eu-central"): 2})
        values = await scraped(api)
        assert values["build_info", __version__] == 1
        assert values["journal_max_bytes",] == 2 * 1024**3
        assert 0 <= values["region_utilisation_ratio", "eu-central"] < 0.8
        await redis.kill()
        await postgres.stop()
        await say({("redis_unreachable",): 1, ("view_held",): 1, ("database_unreachable",): 1, ("unready",): 0})
        await redis.start()
        await postgres.start()
        await say({("redis_unreachable",): 0, ("database_unreachable",): 0})
