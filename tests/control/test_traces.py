"""A whole `banyan serve` whose spans go to a collector that decodes them."""

from pathlib import Path

from proxy.core.tracing import span_ids
from tests.harness.backend import Backend, replying
from tests.harness.client import Client
from tests.harness.collector import Collector, values_of
from tests.harness.serving import Serving

CONFIG = """
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0}}
state: sqlite:state.db
telemetry: {{otlp: {otlp}, sample: 0%}}
backends: {{legacy: {legacy}, new: {new}}}
routes:
  /fine/*: legacy-only
  /failing/{{id}}: {{phase: new-only, fallback: false}}
"""


async def test_a_failed_request_is_traced_and_the_backends_spans_join(tmp_path: Path) -> None:
    async with (
        Collector() as collector,
        Backend("legacy") as legacy,
        Backend("new", replying(b"bad", "500 Internal Server Error")) as new,
    ):
        text = CONFIG.format(otlp=collector.url, legacy=legacy.url, new=new.url)
        async with Serving(tmp_path, text) as serving:
            await serving.until_ready()
            async with await Client.to(serving.address) as client:
                assert (await client.get("/fine/1")).status == 200
                assert (await client.get("/failing/7?token=s3cret")).status == 500
            await collector.got(2)
            metrics = await serving.metrics()
            # An edit moves the spans elsewhere, and the traces that are not of the share with them.
            async with Collector() as other:
                moved = text.replace(collector.url, other.url).replace("0%", "100%")
                serving.config.write_text(moved)
                await serving.until_ready(2)
                async with await Client.to(serving.address) as client:
                    await client.get("/fine/1")
                await other.got(2)
                assert values_of(other.spans[0].attributes)["http.route"] == "/fine/*"
    server, client_span = collector.spans
    assert server.name == "GET /failing/{id}"
    attributes = values_of(server.attributes)
    assert (attributes["url.path"], attributes["error.type"]) == ("/failing/7", "500")
    (sent,) = new.calls[0].headers_named("traceparent")
    _, trace_id, span_id, _ = sent.decode().split("-")
    assert {span.trace_id.hex() for span in collector.spans} == {trace_id}
    assert (client_span.span_id.hex(), server.span_id.hex()) == (
        span_id,
        span_ids(span_id).server,
    )
    of_client = values_of(client_span.attributes)
    assert of_client["server.port"] == new.port
    assert (of_client["banyan.side"], of_client["banyan.role"]) == ("new", "authoritative")
    assert "banyan_spans_exported_total 2" in metrics
    assert "NOT_ACTIVE" not in serving.words
