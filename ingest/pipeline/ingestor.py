"""The ingestor: the entry to the pipeline. It turns the body of a request into a receipt."""

import asyncio

from ingest.errors import NotStoredError
from ingest.parsing.batch import Batch
from ingest.parsing.formats import JSON_FORMATS, BodyFormat
from ingest.parsing.parser import LARGE_BYTES, Parser
from ingest.pipeline.batcher import RequestBatcher
from ingest.pipeline.committer import Committer
from ingest.pipeline.flusher import Flusher
from ingest.pipeline.request import IngestRequest, Receipt


class Ingestor:
    """Ingests requests: decompresses, parses and commits them, and waits for the commit."""

    def __init__(
        self,
        *,
        parser: Parser,
        committer: Committer,
        flusher: Flusher,
        batch_requests_max: int,
        stored_timeout_s: float,
    ) -> None:
        """Connect the parts.

        Args:
            parser: turns bodies into batches of valid events.
            committer: deduplicates and commits the events.
            flusher: tells when the buffer is stored.
            batch_requests_max: see `RequestBatcher`.
            stored_timeout_s: how long `ack=stored` waits for storage, in seconds.
        """
        self._parser = parser
        self._committer = committer
        self._flusher = flusher
        self._stored_timeout_s = stored_timeout_s
        self._batchers = {
            (body_format, durable): RequestBatcher(
                body_format,
                parser=parser,
                committer=committer,
                durable=durable,
                requests_max=batch_requests_max,
            )
            for body_format in JSON_FORMATS
            for durable in (False, True)
        }

    async def ingest(self, request: IngestRequest) -> Receipt:
        """Ingest one request. Returns when all its events have reached the level of its `ack`.

        Raises:
            IngestError: the request was rejected or refused; or its events were accepted but did
                not reach the level in time.
        """
        body_format = request.body_format
        body = await self._parser.decompress(request.body, request.encoding)
        # A large body is parsed by itself, because the other requests of a group would wait for it.
        if (
            body_format is not BodyFormat.ARROW
            and len(body) < LARGE_BYTES
            and not request.partial
            and request.ack != "stored"
        ):
            batcher = self._batchers[body_format, request.ack == "durable"]
            return await batcher.add(body, request.idempotency_key)
        batch = await self._parser.parse(body_format, body)
        return await self.accept(batch, request)

    async def parse(self, request: IngestRequest) -> Batch:
        """Do the first half of `ingest`: decompress and parse.

        For callers that apply a limit to the number of events before `accept`.

        Raises:
            IngestError: the body can't be decompressed or parsed.
        """
        body = await self._parser.decompress(request.body, request.encoding)
        return await self._parser.parse(request.body_format, body)

    async def accept(self, batch: Batch, request: IngestRequest) -> Receipt:
        """Do the second half of `ingest`: commit and wait.

        Args:
            batch: the events of the request.
            request: the request.

        Raises:
            IngestError: see `ingest`.
        """
        rejected = batch.size - len(batch.events)
        if rejected and not (request.partial and batch.events):
            raise self._committer.reject(batch)
        key = request.idempotency_key
        submission = self._committer.submit(
            batch,
            idempotency_keys=None if key is None else [key] * len(batch.events),
            durable=request.ack != "buffered",
        )
        for wait in submission.waits:
            await wait
        if request.ack == "stored":
            await self._wait_until_stored()
        ids: list[str | None] = list(submission.ids)
        if rejected:
            ids = [None] * batch.size
            for index, event_id in zip(batch.indexes, submission.ids, strict=True):
                ids[index] = event_id
        return Receipt(ids, len(batch.events) - len(submission.new), batch.rejected)

    async def _wait_until_stored(self) -> None:
        stored = asyncio.wrap_future(self._flusher.stored())
        try:
            async with asyncio.timeout(self._stored_timeout_s):
                await stored
        except TimeoutError as error:
            raise NotStoredError from error
