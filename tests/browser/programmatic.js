"use strict";
// Drives the page of programmatic: handlers come and go while the session is open, and two remotes send the same.

const assert = require("node:assert/strict");
const { PHONE, Server, Window, check, tell } = require("./windows.js");

/** Adds a handler, or takes it away, and waits until that is done. */
async function change(window, kind, on) {
  await window.page.setChecked(`[value=${kind}]`, on);
  await window.until("the answer", wanted => {
    const box = document.querySelector(`[value=${wanted.kind}]`);
    return !box.disabled && box.checked === wanted.on;
  }, { kind, on });
}

async function handlersComeAndGo() {
  const server = await Server.start("programmatic");
  const window = await Window.open(server.urls.page, { viewport: { width: 800, height: 800 } });
  await window.untilState("1 OPEN");
  await window.untilLine("系统", "已打开");
  const say = kind => window.page.click(`[data-say=${kind}]`);

  await check("on_open has added the handler for text, and no other", async () => {
    const checked = await window.page.evaluate(() => [...document.querySelectorAll(":checked")].map(box => box.value));
    assert.deepEqual(checked, ["text"]);
    await say("text");
    await window.untilLine("文本处理器", "第 1 行");
  });

  await check("what has no handler is dropped, until there is one", async () => {
    await say("binary");
    await say("pong");
    await change(window, "binary", true);
    await change(window, "pong", true);
    await say("binary");
    await window.untilLine("二进制处理器", "1000 bytes");
    await say("pong");
    await window.untilLine("Pong处理器", "ping");
    const lines = await window.log();
    assert.equal(lines.filter(line => line.startsWith("二进制处理器")).length, 1, lines.join("\n"));
    assert.equal(lines.filter(line => line.startsWith("Pong处理器")).length, 1, lines.join("\n"));
  });

  await check("a handler that is taken away hears no more, and may come back", async () => {
    await change(window, "text", false);
    await say("text");
    await window.untilLine("我", "第 2 行（没有处理器，服务器不理）");
    await change(window, "text", true);
    await say("text");
    await window.untilLine("文本处理器", "第 3 行");
    assert.ok(!(await window.log()).includes("文本处理器：第 2 行"));
  });

  await check("both remotes bring the same 4 MiB, and the calls of the async one return first", async () => {
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
  await window.picture("programmatic-desktop");

  const phone = await Window.open(server.urls.page, { viewport: PHONE, colorScheme: "dark" });
  await phone.untilLine("系统", "已打开");
  await check("two windows are two sessions with handlers of their own", async () => {
    assert.equal(await phone.page.isChecked("[value=binary]"), false);
    await change(phone, "text", false);
    assert.equal(await window.page.isChecked("[value=text]"), true);
    await say("text");
    await window.untilLine("文本处理器", "第 4 行");
  });
  await check("fits a phone", () => phone.isFitForAll());
  await phone.picture("programmatic-phone-dark");

  await check("says that the server has gone", async () => {
    assert.equal(await server.terminate(), 0);
    for (const one of [window, phone]) {
      await one.untilState("3 CLOSED 1001");
      await one.untilShown("#trouble", "代码 1001");
      assert.deepEqual(one.complaints, []);
      await one.close();
    }
  });
}

tell(handlersComeAndGo);
