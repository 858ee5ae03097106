"use strict";
// The parts that the pages of the examples share: their two languages, a connection that comes back, and a log.
//
// A text is a string, or a pair of strings: English and Chinese. Markup has its English as content and its Chinese in
// `data-zh`; `aria-label` and `data-empty` have theirs in `data-zh-aria-label` and `data-zh-empty`.

const CLOSE_CODES = {
  1000: ["normal closure", "正常关闭"], 1001: ["going away", "对方离开"], 1002: ["protocol error", "协议错误"],
  1003: ["unsupported data", "不接受这种数据"], 1005: ["no code given", "没有给出代码"],
  1006: ["connection lost", "异常断开"], 1007: ["inconsistent data", "数据不一致"], 1008: ["policy violation", "违反策略"],
  1009: ["message too big", "消息太大"], 1010: ["missing extension", "缺少扩展"], 1011: ["server error", "服务器出错"],
  1012: ["service restart", "服务重启"], 1013: ["try again later", "请稍后再试"], 1014: ["bad gateway", "网关出错"],
  1015: ["TLS handshake failed", "TLS 握手失败"],
};
const NO_CONNECTION = ["no connection to the server", "连不上服务器"];
const SYSTEM = ["System", "系统"];
const LINES_KEPT = 1000;
const FIRST_DELAY = 500, LONGEST_DELAY = 10_000;   // milliseconds until the next attempt

const at = id => document.getElementById(id);

// ---- languages ----

const LANGUAGES = [["en", "中文"], ["zh-CN", "English"]];   // each with what its switch says
let language = document.documentElement.lang === "en" ? 0 : 1;
try {
  language = Number(localStorage.getItem("language") ?? language);
} catch { /* the browser keeps nothing for this page */ }

/** A text in the language of the page. */
function words(text) {
  return Array.isArray(text) ? text[language] : text;
}

/** Joins parts, each a text, into one text. */
function join(...parts) {
  return [0, 1].map(index => parts.map(part => Array.isArray(part) ? part[index] : part).join(""));
}

/** Shows a text as the content of an element, in the other language after a switch. */
function put(element, text) {
  if (Array.isArray(text)) [element.dataset.en, element.dataset.zh] = text;
  else { delete element.dataset.en; delete element.dataset.zh; }
  element.textContent = words(text);
}

function translate() {
  document.documentElement.lang = LANGUAGES[language][0];
  for (const element of document.querySelectorAll("[data-zh]")) {
    element.dataset.en ??= element.textContent;
    element.textContent = words([element.dataset.en, element.dataset.zh]);
  }
  for (const [attribute, zh, en] of [["aria-label", "zhAriaLabel", "enAriaLabel"], ["data-empty", "zhEmpty", "enEmpty"]]) {
    for (const element of document.querySelectorAll(`[${attribute}]`)) {
      if (!element.dataset[zh]) continue;
      element.dataset[en] ??= element.getAttribute(attribute);
      element.setAttribute(attribute, words([element.dataset[en], element.dataset[zh]]));
    }
  }
  const button = at("language");
  button.textContent = LANGUAGES[language][1];
  button.lang = LANGUAGES[1 - language][0];
  document.dispatchEvent(new Event("translated"));
}

function addLanguageSwitch() {
  const button = document.createElement("button");
  button.id = "language";
  button.type = "button";
  button.addEventListener("click", () => {
    language = 1 - language;
    try {
      localStorage.setItem("language", language);
    } catch { /* then the next page begins in the server's language */ }
    translate();
  });
  document.querySelector("header").append(button);
  translate();
}

function clock(date) {
  return date.toLocaleTimeString(words(["en-GB", "zh-CN"]), { hour12: false });
}

function number(value) {
  return Math.round(value).toLocaleString(words(["en-GB", "zh-CN"]));
}

// ---- the connection ----

/** The address of an endpoint on the page's own server. */
function endpoint(path) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}

/** The code of a close and its reason, in words. */
function closing({ code, reason }) {
  const [english, chinese] = CLOSE_CODES[code] ?? ["application code", "应用自定"];
  return [`${code} ${reason || english}`, `${code} ${chinese}${reason ? `：${reason}` : ""}`];
}

/** Shows the state of the connection in the page's head. */
function showState(number, text, failed = false) {
  const state = at("state");
  put(state, text);
  state.dataset.state = number;
  state.classList.toggle("failed", failed);
}

/**
 * A WebSocket that connects again when it is lost: after half a second, then later each time, at most ten seconds. It
 * stays closed when the page has closed it, when its first attempt fails, or when `retry` resolves to false. A page has
 * one at a time: a new one closes the one before it.
 *
 * The handlers are `open`, `message(data)`, `closed(event, opened)` and `retry`, and `changed` after each of these.
 */
class Connection {
  constructor(url, handlers, protocols = []) {
    Object.assign(this, { url, handlers, protocols, wanted: true, attempts: 0, opened: false, ended: null, timer: null });
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** It is closed and stays closed. */
  get isOver() {
    return !this.wanted && this.socket?.readyState === WebSocket.CLOSED;
  }

  connect() {
    this.timer = null;
    const socket = new WebSocket(this.url, this.protocols);
    if (Connection.current !== this) Connection.current?.replace();
    Connection.current = this;
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = this.opened = true;
      this.attempts = 0;
      this.ended = null;
      this.handlers.open?.();
      this.show();
    };
    socket.onmessage = ({ data }) => this.handlers.message?.(data);
    socket.onclose = async event => {
      // the end of the connection says more than the failures of the attempts after it
      if (opened || !this.ended) this.ended = { text: opened ? closing(event) : NO_CONNECTION };
      this.failed = this.wanted;
      if (this.wanted && !this.opened) this.wanted = false;
      if (this.wanted && !opened && await this.handlers.retry?.() === false) this.wanted = false;
      if (this.wanted) this.wait();
      this.handlers.closed?.(event, opened);
      this.show();
    };
    this.show();
  }

  wait() {
    // not all pages at the same time
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.attempts++) * (0.75 + Math.random() / 2);
    this.seconds = Math.ceil(delay / 1000);
    this.timer = setTimeout(() => this.connect(), delay);
  }

  send(data) {
    this.socket.send(data);
  }

  close(code = 1000, reason = "") {
    this.wanted = false;
    clearTimeout(this.timer);
    this.timer = null;
    this.socket.close(code, reason);
    this.show();
  }

  replace() {
    this.handlers = {};
    this.close();
  }

  show() {
    if (Connection.current !== this) return;
    const number = this.socket.readyState;
    const closed = () => join(["closed: ", "已关闭："], this.ended.text);
    if (this.timer) {
      const again = [`; connecting again in ${this.seconds} s`, `；${this.seconds} 秒后重新连接`];
      showState(0, join(closed(), again), true);
    } else if (number === WebSocket.CLOSED) {
      showState(3, closed(), this.failed);
    } else if (number === WebSocket.CONNECTING && this.ended) {
      showState(0, join(closed(), ["; connecting again", "；正在重新连接"]), true);
    } else {
      showState(number, [["connecting", "正在连接"], ["connected", "已连接"], ["closing", "正在关闭"]][number]);
    }
    this.handlers.changed?.();
  }
}

// ---- the log ----

/** A log that follows its end, except while the reader has scrolled up. */
class Log {
  constructor(element) {
    this.element = element;
    this.following = true;
    element.addEventListener("scroll", () => {
      this.following = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
    });
    new ResizeObserver(() => this.follow()).observe(element);
  }

  /** Adds a line; `kind` is me, peer, system or error. Messages are shown as text, never as markup. Returns the line. */
  add(kind, who, text) {
    const line = document.createElement("p");
    const now = new Date();
    const time = line.appendChild(document.createElement("time"));
    time.dateTime = now.toISOString();
    time.textContent = clock(now);
    line.className = kind;
    put(line.appendChild(document.createElement("b")), join(who, [":", "："]));
    put(line.appendChild(document.createElement("span")), text);
    this.element.append(line);
    if (this.element.childElementCount > LINES_KEPT) this.element.firstElementChild.remove();
    if (kind === "me") this.following = true;
    this.follow();
    return line;
  }

  follow() {
    if (this.following) this.element.scrollTop = this.element.scrollHeight;
  }
}

showState(3, ["not connected", "未连接"]);
addLanguageSwitch();
