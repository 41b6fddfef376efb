"use strict";

const missing = (text) => text === "" || /^(–|null|nan|-?inf)$/i.test(text);
const number = (text) => (missing(text) ? NaN : parseFloat(text.replace(/^[<≈]\s*/, "").replaceAll(",", "")));

function sortRows(body, column, descending) {
  const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
  const texts = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
  const known = rows.filter((row) => !missing(texts.get(row)));
  const numeric = known.every((row) => !Number.isNaN(number(texts.get(row))));
  const sign = descending ? -1 : 1;
  known.sort((a, b) => {
    const [left, right] = [texts.get(a), texts.get(b)];
    return sign * (numeric ? number(left) - number(right) : left.localeCompare(right, "en", { numeric: true }));
  });
  // What has no value stays last, whichever way the rest is sorted.
  body.append(...known, ...rows.filter((row) => missing(texts.get(row))));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      for (const body of table.tBodies) sortRows(body, column, descending);
    });
  });
}
