"""One delivery attempt: sign, send through the guarded client, judge the answer."""

from collections.abc import Callable

from attest_pipeline.adapters.guarded_http import GuardedClient, Refused
from attest_pipeline.errors import Misconfigured, Unavailable
from attest_pipeline.webhook import Delivery, Endpoint, Outcome, Verdict, judge, signed_headers


class WebhookSender:
    """Sends deliveries. `private` serves the endpoints with `allow_private`, `public` all others."""

    def __init__(self, public: GuardedClient, private: GuardedClient, clock: Callable[[], float]) -> None:
        self._public = public
        self._private = private
        self._clock = clock

    def check(self, endpoint: Endpoint) -> None:
        """Raises Misconfigured for an endpoint whose URL can never be called: a start-up says so, not a dead letter."""
        try:
            self._client(endpoint).check(endpoint.url)
        except Refused as error:
            raise Misconfigured(f"webhook endpoint {endpoint.id!r}: {error}") from None

    async def send(self, endpoint: Endpoint, delivery: Delivery) -> Outcome:
        """Attempt the delivery once, signed for this second. Raises nothing that the receiver could cause."""
        now = int(self._clock())
        headers = signed_headers(delivery, endpoint.secrets, now)
        try:
            answer = await self._client(endpoint).send("POST", endpoint.url, headers=headers, body=delivery.body)
        except Refused as error:
            return Outcome(Verdict.REFUSED, detail=str(error))
        except Unavailable as error:
            return Outcome(Verdict.FAILED, detail=str(error))
        return judge(answer.status, answer.headers, now)

    def _client(self, endpoint: Endpoint) -> GuardedClient:
        return self._private if endpoint.allow_private else self._public
