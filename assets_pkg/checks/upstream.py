"""Checks of others: which of those upstream of an asset have failed when they last ran."""

import dagster as dg


def failed_checks_upstream(context: dg.AssetExecutionContext) -> list[str]:
    """Failed checks of severity ERROR on what this asset is made from, such as `market/bars bars_in_range`."""
    graph = context.job_def.asset_layer.asset_graph
    upstream = graph.get_ancestor_asset_keys(next(iter(context.selected_asset_keys)))
    failed = []
    for key in sorted(graph.asset_check_keys):
        if key.asset_key not in upstream:
            continue
        record = context.instance.get_latest_asset_check_evaluation_record(key)
        evaluation = record.event and record.event.dagster_event.asset_check_evaluation_data if record else None
        if evaluation and not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
            failed.append(f"{key.asset_key.to_user_string()} {key.name}")
    return failed
