// Files may be dropped anywhere or pasted: they go into the file input of the attach button.
() => {
  const input = () => document.querySelector("#attach input[type=file], input[type=file]");
  const give = (files) => {
    if (!files.length) return;
    input().files = files;
    input().dispatchEvent(new Event("change", { bubbles: true }));
  };
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  const hover = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    hover(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || hover(false));
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    hover(false);
    give(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => give(event.clipboardData.files));
  // The picker offers what the live checkpoint takes at the moment it opens.
  addEventListener("click", (event) => {
    if (!event.target.closest("#attach")) return;
    input().accept = document.querySelector("#offer [data-accept]")?.dataset.accept ?? "";
  }, true);
}
