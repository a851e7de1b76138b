// The lab's bundle. On a page of the lab it brings the figures to life; imported by a notebook it only exports `render`.
import { render } from "./host-afm";
import { SocketHost } from "./host-ws";
import { Page, type PageData } from "./page";

const data = document.getElementById("poise-page");
if (data) new Page(JSON.parse(data.textContent ?? "{}") as PageData, new SocketHost());

export default { render };
