// Lets the pages be searched when they are opened from a folder (file://), where browsers refuse
// a Worker: its script runs in a hidden frame of the same page instead. Over HTTP nothing changes.
"use strict";

if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    /** @param {string | URL} url of the worker's script */
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = inside.document.createElement("script");
      this.ready = new Promise((resolve) => script.addEventListener("load", resolve));
      script.src = String(url);
      inside.document.body.append(script);
    }

    /** @param {unknown} data */
    postMessage(data) {
      const inside = this.frame.contentWindow;
      this.ready.then(() => inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
