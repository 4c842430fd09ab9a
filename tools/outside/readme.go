package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A document is a README with what is to be done with its code blocks.
type document struct {
	// name is its path in the repository.
	name   string
	blocks []block
}

// read reads the document with that name below root.
func read(root, name string) (document, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return document{}, err
	}
	blocks, err := parse(string(text))
	if err != nil {
		return document{}, fmt.Errorf("%s: %w", name, err)
	}
	return document{name: name, blocks: blocks}, nil
}

// A block is a fenced code block of a README with the comment above it that says what to do with it:
//
//	<!-- file: PATH -->    write it to PATH
//	<!-- managed: PATH --> write it to PATH when buf's managed mode is tried
//	<!-- run -->           run it in a shell, and expect success
//	<!-- fails -->         run it in a shell, and expect that it fails
//	<!-- start -->         run it in a shell that goes on in the background
//	<!-- prints -->        what the command of the last run or fails block prints
//	<!-- shown -->         nothing
type block struct {
	kind, path, text string
	// line is where the block begins in the README.
	line int
}

// parse returns the blocks of a README. A block without a comment is an error, so that none is forgotten.
func parse(readme string) ([]block, error) {
	var blocks []block
	var open *block
	marker := ""
	for i, line := range strings.Split(readme, "\n") {
		fence := strings.HasPrefix(line, "```")
		switch {
		case open != nil && fence:
			blocks = append(blocks, *open)
			open, marker = nil, ""
		case open != nil:
			open.text += line + "\n"
		case fence:
			b, err := begin(marker, i+1)
			if err != nil {
				return nil, err
			}
			open = b
		case strings.HasPrefix(line, "<!-- ") && strings.HasSuffix(line, " -->"):
			marker = strings.TrimSuffix(strings.TrimPrefix(line, "<!-- "), " -->")
		case strings.TrimSpace(line) != "":
			marker = ""
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the code block has no end", open.line)
	}
	return blocks, nil
}

func begin(marker string, line int) (*block, error) {
	kind, path, _ := strings.Cut(marker, ": ")
	b := &block{kind: kind, path: path, line: line}
	switch {
	case (kind == "file" || kind == "managed") && path != "":
		return b, nil
	case (kind == "run" || kind == "fails" || kind == "start" || kind == "prints" || kind == "shown") && path == "":
		return b, nil
	case marker == "":
		return nil, fmt.Errorf("line %d: nothing says what the code block is for. Fix: write a comment above it, such as <!-- run -->", line)
	default:
		return nil, fmt.Errorf("line %d: the comment %q above the code block means nothing", line, marker)
	}
}
