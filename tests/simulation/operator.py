"""The operator: what a halted partition needs a human for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.facts import DATASET, Broken
from tests.simulation.group import GROUP
from tests.simulation.process import FORMATS

from streamlake.domain.errors import PositionLost
from streamlake.domain.model.positions import Lane, Position
from streamlake.domain.use_cases.start_positions import Gap, StartPositions

if TYPE_CHECKING:
    from tests.simulation.world import World


def mend_halts(world: World) -> None:
    """Look at every partition that halted at a gap: was there a reason? Then accept the gap, or undo the reset."""
    group = world.group
    starts = StartPositions(DATASET, world.around.bucket, FORMATS, group.admin, group.reader)
    topic_id = group.topic_id()
    for consumer in world.consumers:
        for source, why in consumer.consumer.halted.items():
            if not why.startswith("PositionLost"):
                continue
            marks = group.admin.watermarks([source])[source]
            facts = world.facts.lanes[Lane(topic_id, source.partition)]
            try:
                decided = starts.decide(source, topic_id, marks, group.committed().get(source))
            except PositionLost as lost:
                if not facts.disturbed:
                    raise Broken(f"{source}: halted for no reason: {lost}") from lost
                world.tell(f"an operator resets {source}, which was beyond the end, to {marks.low}")
                group.admin.alter_group_offsets(GROUP, {source: Position(marks.low)})
                continue
            if not isinstance(decided, Gap):
                continue
            if decided.replaced_topic_id is None:
                if not facts.disturbed:
                    raise Broken(f"{source}: halted at [{decided.start}, {decided.end}) for no reason")
                if decided.end <= facts.reset_to and world.choices.chance(0.5):
                    world.tell(f"an operator resets {source} back to {decided.start}")
                    group.admin.alter_group_offsets(GROUP, {source: Position(decided.start)})
                    continue
            elif decided.replaced_topic_id not in world.facts.gone:
                raise Broken(f"{source}: halted for topic id {decided.replaced_topic_id}, which is not gone")
            world.tell(f"an operator accepts {decided}")
            world.facts.count("accepted gaps")
            starts.accept(decided, "operator", "then")
            facts.excused.update(range(decided.start, min(decided.end, facts.reset_to)))
