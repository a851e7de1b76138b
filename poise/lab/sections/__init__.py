"""The words of the chapter, section by section."""
