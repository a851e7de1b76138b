// The lab's bundle. On a page of the lab it brings the figures to life; imported by a notebook it only exports `render`.
import { render } from "./host-afm";
import { StaticHost, type StoredPage } from "./host-static";
import { SocketHost } from "./host-ws";
import { Page, type PageData } from "./page";

const data = document.getElementById("poise-page");
const stored = document.getElementById("poise-static"); // a file that works alone has its frames in it
if (data) {
  const host = stored ? new StaticHost(JSON.parse(stored.textContent ?? "{}") as StoredPage) : new SocketHost();
  new Page(JSON.parse(data.textContent ?? "{}") as PageData, host);
}

export default { render };
