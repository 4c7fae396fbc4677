"""What tasks wait for before they start: files, installed packages, images."""
