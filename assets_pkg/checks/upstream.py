"""Checks of others: which of those upstream of an asset have failed when they last ran."""

import dagster as dg


def failed_checks_upstream(definitions: dg.Definitions, instance: dg.DagsterInstance, key: dg.AssetKey) -> list[str]:
    """Failed checks of severity ERROR on what an asset is made from, such as `market/bars bars_in_range`."""
    graph = definitions.resolve_asset_graph()  # a run knows only what was selected for it
    upstream = graph.get_ancestor_asset_keys(key)
    failed = []
    for check in sorted(graph.asset_check_keys):
        record = instance.get_latest_asset_check_evaluation_record(check) if check.asset_key in upstream else None
        event = record.event.dagster_event if record and record.event else None
        said = event.asset_check_evaluation_data if event else None
        if said and not said.passed and said.severity is dg.AssetCheckSeverity.ERROR:
            failed.append(f"{check.asset_key.to_user_string()} {check.name}")
    return failed
