package main

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	readme := strings.ReplaceAll(`# Title

<!-- file: a/b.go -->

'''go
package a

func f() {}
'''

Text.

<!-- run -->
'''sh
go run .
'''
<!-- prints -->
'''
hello
'''
`, "'''", "```")
	got, err := parse(readme)
	if err != nil {
		t.Fatal(err)
	}
	want := []block{
		{kind: "file", path: "a/b.go", text: "package a\n\nfunc f() {}\n", line: 5},
		{kind: "run", text: "go run .\n", line: 14},
		{kind: "prints", text: "hello\n", line: 18},
	}
	if !slices.Equal(got, want) {
		t.Errorf("blocks %+v, want %+v", got, want)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, readme, want string }{
		{"no comment", "```sh\nls\n```\n", "line 1: nothing says what the code block is for"},
		{"text between", "<!-- run -->\ntext\n```sh\nls\n```\n", "line 3: nothing says"},
		{"a comment serves once", "<!-- run -->\n```\nls\n```\n```\nls\n```\n", "line 5: nothing says"},
		{"unknown", "<!-- walk -->\n```sh\nls\n```\n", `line 2: the comment "walk"`},
		{"no path", "<!-- file -->\n```sh\nls\n```\n", `line 2: the comment "file"`},
		{"no end", "<!-- run -->\n```sh\nls\n", "line 2: the code block has no end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(tt.readme); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}
