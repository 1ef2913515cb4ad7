"""What faust-streaming 0.15.3 lacks to read a log that was written in transactions, and to share it among workers.

The end of every transaction takes an offset that no reader is shown. faust notes such a gap together with the record
behind it, and then stops at that record: each time it commits, it commits the offsets of one transaction, and falls
ever further behind. Here all is done that lies below the oldest record in work.
"""

from collections.abc import Mapping
from typing import cast

from faust.transport.drivers import aiokafka
from faust.types import TP


class _Thread(aiokafka.AIOKafkaConsumerThread):
    """faust takes a changelog that it has not read yet for empty, and so does not restore what another has counted."""

    async def _highwaters(self, partitions: list[TP]) -> Mapping[TP, int]:
        ends: Mapping[TP, int] = await self._ensure_consumer().end_offsets(partitions)
        return ends


class _Consumer(aiokafka.Consumer):
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """faust forgets what is done before it commits it, leaves the transaction open, and goes on in it, or with a
        producer that another has fenced since. Here it is committed first, and every producer is a new one. What faust
        does then, after it has forgotten, finds nothing left to commit.
        """
        await self._on_partitions_revoked(revoked)
        producer = cast("aiokafka.Producer", self.transactions.producer)
        for transactional_id in list(producer._transaction_producers):
            await producer.stop_transaction(transactional_id)
        await super().on_partitions_revoked(revoked)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """faust throws away what it reads while it restores its tables, and without this never reads it again where
        nothing was committed yet.
        """
        committed = await super().seek_to_committed()
        if begun := [place for place, offset in committed.items() if not offset]:
            await self._thread.seek_to_beginning(*begun)
        return committed

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
