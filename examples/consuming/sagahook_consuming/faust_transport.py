"""What faust-streaming 0.15.3 lacks to read a log that was written in transactions.

The end of every transaction takes an offset that no reader is shown. faust notes such a gap together with the record
behind it, and then stops at that record: each time it commits, it commits the offsets of one transaction, and falls
ever further behind. Here all is done that lies below the oldest record in work.
"""

from faust.transport.drivers import aiokafka
from faust.types import TP


class _Consumer(aiokafka.Consumer):
    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing has to be remembered of it."""

    def _new_offset(self, tp: TP) -> int | None:
        acked = self._acked[tp]
        if not acked:
            return None
        in_work = (message.offset for message in self.unacked if message.tp == tp)
        done = min(in_work, default=max(acked) + 1)
        self._acked[tp] = [offset for offset in acked if offset >= done]
        self._acked_index[tp].intersection_update(self._acked[tp])
        return done


class TransactionalLog(aiokafka.Transport):
    """faust's transport for Kafka, with that consumer."""

    Consumer = _Consumer
