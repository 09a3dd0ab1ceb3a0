// A button with the id "theme" goes through: as the system has it, light, dark.
{
  const button = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  if (button) {
    button.addEventListener("click", () => {
      const now = document.documentElement.dataset.theme || "auto";
      const next = themes[(themes.indexOf(now) + 1) % themes.length];
      document.documentElement.dataset.theme = next;
      button.textContent = `Theme: ${next}`;
    });
  }
}
