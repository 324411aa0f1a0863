"""A workflow written against the interface alone, with nothing of Tidegate's inside."""

import json

import wit_world
from wit_world.imports import log
from wit_world.imports import tidegate_workflow_types as types


class WitWorld(wit_world.WitWorld):
    def workflow(self, trigger, settings):
        event = json.loads(trigger.value.body)
        calls = {one.name: json.loads(one.value) for one in settings}.get("CALLS", 0) + 1
        log.emit(log.Level.WARNING, f"call {calls}", [])
        body = json.dumps({"hello": event["name"]}).encode()
        return types.Outcome(
            types.Reply(201, [("content-type", "application/json")], body),
            None,
            [types.Change("CALLS", json.dumps(calls))],
        )
