// Where the reader is, and the keys that lead on.
{
  const steps = [...document.querySelectorAll("main section")];
  const links = new Map(
    [...document.querySelectorAll("nav a")].map((a) => [a.getAttribute("href").slice(1), a]),
  );
  const contents = document.getElementById("contents");
  const dialog = document.getElementById("keys");
  const narrow = window.matchMedia("(max-width: 60rem)");
  let current = -1;

  function mark(index) {
    if (index === current) return;
    if (current >= 0) links.get(steps[current].id).removeAttribute("aria-current");
    current = index;
    if (index < 0) return;
    const link = links.get(steps[index].id);
    link.setAttribute("aria-current", "step");
    if (!narrow.matches) link.scrollIntoView({ block: "nearest" });
  }

  // The step at the upper third of the window is the one being read.
  function find() {
    const line = window.innerHeight / 3;
    let index = -1;
    for (const [i, step] of steps.entries()) {
      if (step.getBoundingClientRect().top <= line) index = i;
    }
    mark(index);
  }

  function go(index) {
    const step = steps[Math.max(0, Math.min(index, steps.length - 1))];
    if (!step) return;
    if (narrow.matches) contents.open = false;
    history.replaceState(null, "", `#${step.id}`);
    step.scrollIntoView();
    step.querySelector("h3").focus({ preventScroll: true });
    mark(steps.indexOf(step));
  }

  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      find();
    });
  }, { passive: true });

  if (narrow.matches) contents.open = false;
  for (const link of links.values()) {
    link.addEventListener("click", () => { if (narrow.matches) contents.open = false; });
  }

  // A click shows a picture as large as the page allows, and back.
  for (const image of document.querySelectorAll(".pictures img")) {
    image.classList.add("larger");
    image.addEventListener("click", () => image.closest("figure").classList.toggle("large"));
  }

  function toggleCode() {
    const blocks = steps[Math.max(current, 0)].querySelectorAll("details.code");
    const open = [...blocks].every((block) => block.open);
    for (const block of blocks) block.open = !open;
  }

  const showKeys = () => (dialog.open ? dialog.close() : dialog.showModal());
  document.getElementById("help").addEventListener("click", showKeys);

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "?") showKeys();
    else if (dialog.open) return;
    else if (event.key === "j" || event.key === "ArrowRight") go(current + 1);
    else if (event.key === "k" || event.key === "ArrowLeft") go(current - 1);
    else if (event.key === "c") toggleCode();
    else if (event.key === "t") document.getElementById("theme").click();
    else return;
    event.preventDefault();
  });
  find();
}
