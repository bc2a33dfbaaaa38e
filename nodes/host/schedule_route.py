"""The picture of a guidance schedule, which the front end asks for whenever a widget of Guidance Control moves."""

from __future__ import annotations

import io
from dataclasses import fields

from aiohttp import web
from server import PromptServer

from ...pipelines.sampling.guidance import Guidance
from ...pipelines.sampling.schedule_picture import draw_schedule

PATH = "/visual_insertion/schedule.png"
SETTINGS = [field.name for field in fields(Guidance)]


async def schedule_png(request: web.Request) -> web.Response:
    """A PNG of the schedule that the query's settings make; 400 and the reason for what Guidance refuses."""
    try:
        guidance = Guidance(**{name: float(request.query[name]) for name in SETTINGS if name in request.query})
    except ValueError as error:
        return web.Response(status=400, text=str(error))
    buffer = io.BytesIO()
    draw_schedule(guidance).save(buffer, "PNG")
    return web.Response(body=buffer.getvalue(), content_type="image/png")


def serve_schedule() -> None:
    """Add the route to the host's server, where there is one."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.routes.get(PATH)(schedule_png)
