"use strict";
// What every page of the examples does: find its server, show the state of its connection, write lines into a log.

const STATES = ["CONNECTING", "OPEN", "CLOSING", "CLOSED"];
const CLOSE_CODES = {
  1000: "正常关闭", 1001: "对方离开", 1002: "协议错误", 1003: "不接受这种数据", 1005: "没有给出代码",
  1006: "异常断开", 1007: "数据不一致", 1008: "违反策略", 1009: "消息太大", 1010: "缺少扩展",
  1011: "服务器出错", 1012: "服务重启", 1013: "请稍后再试", 1014: "网关出错", 1015: "TLS 握手失败",
};
const LINES_KEPT = 1000;

const at = id => document.getElementById(id);

/** The address of an endpoint on the page's own server. */
function endpoint(path) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}

/** Shows a socket's readyState in the page's head; with a close event, its code as well. */
function showState(socket, closed) {
  const number = socket ? socket.readyState : WebSocket.CLOSED;
  const state = at("state");
  state.textContent = `${number} ${STATES[number]}${closed ? ` ${closed.code}` : ""}`;
  state.dataset.state = number;
}

function closing({ code, reason }) {
  return `代码 ${code}（${CLOSE_CODES[code] ?? "应用自定"}）${reason ? `，原因：${reason}` : ""}`;
}

/** A log that keeps to its end, except while somebody reads further up. */
class Log {
  constructor(element) {
    this.element = element;
    this.following = true;
    element.addEventListener("scroll", () => {
      this.following = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    });
    new ResizeObserver(() => this.follow()).observe(element);
  }

  /** Adds a line; `kind` is me, peer, system or error. What is said is shown as text, never as markup. */
  say(kind, who, text) {
    const line = document.createElement("p");
    const now = new Date();
    const time = line.appendChild(document.createElement("time"));
    time.dateTime = now.toISOString();
    time.textContent = now.toLocaleTimeString("zh-CN", { hour12: false });
    line.className = kind;
    line.appendChild(document.createElement("b")).textContent = `${who}：`;
    line.appendChild(document.createElement("span")).textContent = text;
    this.element.append(line);
    if (this.element.childElementCount > LINES_KEPT) this.element.firstElementChild.remove();
    if (kind === "me") this.following = true;
    this.follow();
  }

  follow() {
    if (this.following) this.element.scrollTop = this.element.scrollHeight;
  }
}
