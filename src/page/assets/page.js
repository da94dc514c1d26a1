// What the page can do with scripts: search and filter the changed answers, sort the table of variants, save figures.
// Texts of questions and answers enter the page as text nodes only, never as HTML.
"use strict";
(() => {
  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const byId = (id) => document.getElementById(id);

  // Two texts as words that stayed, went and came: the longest common subsequence of what differs.
  const differences = (before, after) => {
    const [one, two] = [before, after].map((text) => text.split(/(\s+)/));
    let head = 0;
    while (head < one.length && head < two.length && one[head] === two[head]) head += 1;
    let tail = 0;
    while (tail < one.length - head && tail < two.length - head && one[one.length - 1 - tail] === two[two.length - 1 - tail]) tail += 1;
    const [a, b] = [one.slice(head, one.length - tail), two.slice(head, two.length - tail)];
    const kept = [new Set(), new Set()];
    if (a.length * b.length <= 160000) {
      const wide = b.length + 1;
      const length = new Uint16Array((a.length + 1) * wide);
      for (let i = a.length - 1; i >= 0; i -= 1) {
        for (let j = b.length - 1; j >= 0; j -= 1) {
          length[i * wide + j] = a[i] === b[j] ? length[(i + 1) * wide + j + 1] + 1 : Math.max(length[(i + 1) * wide + j], length[i * wide + j + 1]);
        }
      }
      for (let i = 0, j = 0; i < a.length && j < b.length;) {
        if (a[i] === b[j]) { kept[0].add(i); kept[1].add(j); i += 1; j += 1; }
        else if (length[(i + 1) * wide + j] >= length[i * wide + j + 1]) i += 1;
        else j += 1;
      }
    }
    const pieces = (all, part, keep) => [
      [false, all.slice(0, head).join("")],
      ...part.map((word, at) => [!keep.has(at), word]),
      [false, all.slice(all.length - tail).join("")],
    ];
    return [pieces(one, a, kept[0]), pieces(two, b, kept[1])];
  };

  // Pieces as nodes; neighbours of one kind are one node.
  const shown = (pieces, name) => {
    const out = document.createDocumentFragment();
    let [changed, text] = [false, ""];
    const flush = () => { if (text) out.append(changed ? element(name, text) : text); text = ""; };
    for (const [kind, word] of pieces) {
      if (kind !== changed) { flush(); changed = kind; }
      text += word;
    }
    flush();
    return out;
  };

  const escaped = (text) => text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

  const words = { s: "safe", u: "unsafe", "?": "unread", "-": "not judged" };

  const unpack = async (packed) => {
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  };

  const answers = async () => {
    const packed = byId("packed");
    if (!packed || typeof DecompressionStream === "undefined") return;
    const { points, sets, judges, questions, rows } = await unpack(packed.textContent);
    const data = rows.map(([point, number, after, said, cut]) => {
      const [set, row, question, before, first, cutBefore] = questions[number];
      const judged = judges.map((judge, at) => [judge, first[at], said[at]]);
      const flips = judged.filter(([, one, two]) => one !== two && one !== "-" && two !== "-");
      return {
        point: points[point], set: sets[set], row, question, before, after, judged,
        flipped: flips.length > 0,
        toUnsafe: flips.some(([, one, two]) => one === "s" && two === "u"),
        toSafe: flips.some(([, one, two]) => one === "u" && two === "s"),
        cut: Boolean(cut || cutBefore),
        folded: judged.every(([, one, two]) => one === "-" && two === "-") || judged.some(([, one, two]) => one === "u" || two === "u"),
      };
    });
    const fill = (id, values) => {
      for (const value of new Set(values)) {
        const option = element("option", value);
        option.value = value;
        byId(id).append(option);
      }
    };
    fill("by-point", data.map((row) => row.point));
    fill("by-set", data.map((row) => row.set));

    const where = (row) => {
      const out = element("div");
      out.append(element("span", row.point, "where"), element("span", `${row.set} ${row.row}`, "where"));
      for (const [judge, one, two] of row.judged) {
        out.append(element("span", `${judge}: ${words[one]} to ${words[two]}`, one === two ? "where" : "where flip"));
      }
      if (row.cut) out.append(element("span", "cut off", "where"));
      return out;
    };
    const text = (row, side) => {
      const [before, after] = differences(row.before, row.after);
      const nodes = side === "before" ? shown(before, "del") : shown(after, "ins");
      if (!row[side]) nodes.append(element("span", "(no text)", "where"));
      if (!row.folded) { const out = element("div"); out.append(nodes); return out; }
      const fold = element("details");
      fold.open = byId("unfold").checked;
      fold.append(element("summary", "folded answer"), nodes);
      return fold;
    };
    const column = (title, of, plain) => ({
      title,
      type: "string",
      data: null,
      orderable: title !== "base" && title !== "variant",
      // What is searched and sorted, DataTables reads as HTML where there is a `&` in it. So it is given HTML that says the text.
      render: (row, type) => (type === "display" ? of(row) : escaped(plain(row))),
      createdCell: (cell) => cell.setAttribute("data-title", title),
    });
    byId("plain").remove();
    byId("browser").hidden = false;
    const table = new DataTable("#rows", {
      data,
      autoWidth: false,
      deferRender: true,
      order: [],
      pageLength: 10,
      lengthMenu: [10, 25, 50],
      columns: [
        column("where", where, (row) => [row.point, row.set, String(row.row).padStart(6, "0")].join(" ")),
        column("question", (row) => row.question === "" ? "" : element("div", row.question), (row) => row.question),
        column("base", (row) => text(row, "before"), (row) => row.before),
        column("variant", (row) => text(row, "after"), (row) => row.after),
      ],
      language: { search: "Search", info: "_START_ to _END_ of _TOTAL_ answers", infoFiltered: "(_MAX_ in all)", infoEmpty: "no answer fits", zeroRecords: "No answer fits.", lengthMenu: "_MENU_ on a page" },
    });
    const kinds = { flipped: "flipped", "to-unsafe": "toUnsafe", "to-safe": "toSafe", cut: "cut" };
    table.search.fixed("filters", (_, row) => {
      const [point, set, kind] = ["by-point", "by-set", "by-kind"].map((id) => byId(id).value);
      return (!point || row.point === point) && (!set || row.set === set) && (!kind || row[kinds[kind]]);
    });
    for (const id of ["by-point", "by-set", "by-kind"]) byId(id).addEventListener("change", () => table.draw());
    byId("unfold").addEventListener("change", () => {
      for (const fold of document.querySelectorAll("#rows details")) fold.open = byId("unfold").checked;
      table.rows().invalidate().draw(false);
    });
    document.querySelector("#browser form").addEventListener("submit", (event) => event.preventDefault());
  };

  // The table of variants can be sorted and searched once it is long.
  const variants = () => {
    const table = document.querySelector("table.points");
    if (!table || table.tBodies[0].rows.length < 8) return;
    new DataTable(table, { paging: false, autoWidth: false, order: [], info: false, language: { search: "Search variants" } });
  };

  const download = (href, name) => {
    const link = element("a");
    link.href = href;
    link.download = name;
    link.click();
  };

  // The drawing that is shown at this moment, light or dark.
  const drawing = (id) => [...byId(id).querySelectorAll(".drawing")].find((one) => one.offsetParent !== null).querySelector("svg");

  const save = async (id, kind) => {
    const svg = drawing(id);
    const source = new XMLSerializer().serializeToString(svg);
    const address = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}`;
    if (kind === "svg") return download(address, `${id}.svg`);
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = element("canvas");
    const { width, height } = svg.viewBox.baseVal;
    [canvas.width, canvas.height] = [2 * width, 2 * height];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return download(canvas.toDataURL("image/png"), `${id}.png`);
  };

  for (const button of document.querySelectorAll("button[data-save]")) {
    button.parentElement.hidden = false;
    button.addEventListener("click", () => save(button.dataset.figure, button.dataset.save));
  }
  variants();
  answers().then(() => { document.documentElement.dataset.ready = "yes"; });
})();
