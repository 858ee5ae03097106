"use strict";
// Drives the page of programmatic: handlers come and go while the session is open, and two remotes send the same.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, comesBack, speaksBothLanguages, tell } = require("./windows.js");

/** Adds a handler, or takes it away, and waits until that is done. */
async function change(window, kind, on) {
  await window.page.setChecked(`[value=${kind}]`, on);
  await window.until("the answer", wanted => {
    const box = document.querySelector(`[value=${wanted.kind}]`);
    return !box.disabled && box.checked === wanted.on;
  }, { kind, on });
}

async function handlersComeAndGo() {
  let server = await Server.start("programmatic");
  const window = await Window.open(server.urls.page, { viewport: { width: 800, height: 800 } });
  await window.untilState("connected");
  await window.untilLine("System", " is open");
  const say = kind => window.page.click(`[data-say=${kind}]`);

  await check("on_open has added the handler for text, and no other", async () => {
    const checked = await window.page.evaluate(() => [...document.querySelectorAll(":checked")].map(box => box.value));
    assert.deepEqual(checked, ["text"]);
    await say("text");
    await window.untilLine("text handler", "line 1");
  });

  await check("messages without a handler are dropped until one is added", async () => {
    await say("binary");
    await say("pong");
    await change(window, "binary", true);
    await change(window, "pong", true);
    await say("binary");
    await window.untilLine("binary handler", "1000 bytes");
    await say("pong");
    await window.untilLine("pong handler", "ping");
    const lines = await window.log();
    assert.equal(lines.filter(line => line.startsWith("binary handler")).length, 1, lines.join("\n"));
    assert.equal(lines.filter(line => line.startsWith("pong handler")).length, 1, lines.join("\n"));
  });

  await check("a removed handler receives nothing, and may be added again", async () => {
    await change(window, "text", false);
    await say("text");
    await window.untilLine("Me", "line 2 (no handler: the server drops it)");
    await change(window, "text", true);
    await say("text");
    await window.untilLine("text handler", "line 3");
    assert.ok(!(await window.log()).includes("text handler:line 2"));
  });

  await check("both remotes deliver the same 4 MiB, and the async calls return first", async () => {
    for (const remote of ["basic", "async"]) {
      await window.page.click(`#${remote} button`);
      await window.untilShown(`#${remote} td`, "4.0 MiB");
      await window.untilShown(`#${remote} td:nth-child(3)`, " ms");
      await window.until("the end of it", () => pushed === null);
    }
    const [basic, async] = await window.page.evaluate(() => ["basic", "async"].map(remote =>
      [1, 2].map(cell => Number.parseFloat(document.getElementById(remote).cells[cell].textContent))));
    assert.ok(basic[0] <= basic[1] && async[0] < async[1], `${basic} ${async}`);
    assert.ok(async[0] < basic[0], `async_remote returned after ${async[0]} ms, basic_remote after ${basic[0]} ms`);
  });

  await check("fits its window and names its controls", () => window.isFitForAll());
  await window.picture("programmatic");

  const phone = await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" });
  await phone.untilLine("System", " is open");
  await check("two windows are two sessions with their own handlers", async () => {
    assert.equal(await phone.page.isChecked("[value=binary]"), false);
    await change(phone, "text", false);
    assert.equal(await window.page.isChecked("[value=text]"), true);
    await say("text");
    await window.untilLine("text handler", "line 4");
  });
  await check("fits a phone", () => phone.isFitForAll());
  await phone.picture("programmatic-phone-dark");

  await check("speaks both languages", async () => {
    await speaksBothLanguages(phone, ["Programmatic endpoint", "编程式端点"]);
    await phone.changeLanguage();
    await phone.page.click("[data-say=text]");
    await phone.untilLine("文本处理器", "第 1 行");
    await phone.picture("programmatic-zh");
    await phone.changeLanguage();
  });

  await check("reconnects after a restart, as another session with the handler for text", async () => {
    for (const one of [window, phone]) assert.deepEqual(one.complaints, []);
    const before = await window.page.evaluate(() => id);
    server = await comesBack(server, window, phone);
    await window.until("another session", before => id !== null && id !== before, before);
    assert.deepEqual(await window.page.evaluate(() => boxes.filter(box => box.checked).map(box => box.value)), ["text"]);
    await window.untilRed("#log .error span", "the connection is closed: 1001 the server is shutting down");
    await say("text");
    await window.untilLine("text handler", "line 5");
    for (const one of [window, phone]) assert.deepEqual(one.complaints, []);
  });
  for (const one of [window, phone]) await one.close();
  await server.terminate();
}

tell(handlersComeAndGo);
