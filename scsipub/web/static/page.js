// Copy buttons and tabs.  Without this file the page is longer, and nothing is missing.
"use strict";

const said = document.getElementById("said");

async function copy(text, pre) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard without TLS: select it, and try the old way.
    getSelection().selectAllChildren(pre);
    return document.execCommand("copy");
  }
}

for (const figure of document.querySelectorAll(".commands")) {
  const pre = figure.querySelector("pre");
  const label = figure.querySelector("figcaption").textContent;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${label}`);
  button.addEventListener("click", async () => {
    const done = await copy(pre.textContent + "\n", pre);
    button.textContent = done ? "Copied" : "Selected";
    button.classList.add("done");
    said.textContent = done ? "Copied." : "Selected; copy it with your keyboard.";
    setTimeout(() => {
      button.textContent = "Copy";
      button.classList.remove("done");
      said.textContent = "";
    }, 2000);
  });
  figure.append(button);
}

function withClient(address, client) {
  const url = new URL(address);
  url.searchParams.set("client", client);
  return url.href;
}

function makeTabs(clients) {
  const panels = [...clients.querySelectorAll(".client")];
  const list = document.createElement("div");
  list.className = "tabs";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-labelledby", "how");

  const tabs = panels.map((panel) => {
    const heading = panel.querySelector("h3");
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `${panel.id}-tab`;
    tab.textContent = heading.textContent;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    heading.hidden = true;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    list.append(tab);
    return tab;
  });

  function select(index) {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      panels[i].hidden = i !== index;
    });
    // Another disk, the same kind of client.  No #anchor: the page would jump past the disks.
    for (const link of document.querySelectorAll(".disks a")) link.href = withClient(link.href, panels[index].id);
  }

  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => {
      select(index);
      history.replaceState(null, "", withClient(location.href, panels[index].id));
    });
    tab.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -index, End: tabs.length - 1 - index };
      if (!(event.key in steps)) return;
      event.preventDefault();
      const next = (index + steps[event.key] + tabs.length) % tabs.length;
      tabs[next].focus();
      tabs[next].click();
    });
  });

  clients.prepend(list);
  const wanted = new URL(location.href).searchParams.get("client");
  select(Math.max(0, panels.findIndex((panel) => panel.id === wanted)));
}

const clients = document.getElementById("clients");
if (clients) makeTabs(clients);
