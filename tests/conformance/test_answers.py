"""Every answer of AWS's in the table is Hanabi's too: status, code, message, and whether it has a `Type`."""

import json
from pathlib import Path

from tests.conformance.answers import ROLE, TABLE, Asker, cases, differences
from tests.unit.edge.world import TRUST_LAMBDA, open_world


async def test_answers(tmp_path: Path) -> None:
    async with open_world(tmp_path, any_role=False) as world:
        asker = Asker(world)
        trust = json.dumps(TRUST_LAMBDA)
        made = await world.ask(world.keys.root, "iam", "CreateRole", RoleName=ROLE.rpartition("/")[2], AssumeRolePolicyDocument=trust)
        assert made.status == 200
        told, asked = [], 0
        for case in cases():
            if asker.serves(case):
                asked += 1
                told += [f"{case}: {each}" for each in differences(case, await asker.ask(case))]
        print(f"{asked} of {len(cases())} answers asked")
        assert not told, "\n".join(told)
        assert asked >= 120


def test_every_case_has_a_source() -> None:
    assert len(TABLE["cases"]) >= 120
    assert [case.number for case in cases() if not case.source or case.status < 400] == []
    asked = [json.dumps([line["operation"], line["params"], line.get("request")], sort_keys=True) for line in TABLE["cases"]]
    assert len(asked) == len(set(asked))
    assert set(TABLE["states"]) == {state for case in cases() for state in case.given}
