"""The chat: a Gradio page over the HTTP interface. It imports nothing of the other packages and names no modality."""
