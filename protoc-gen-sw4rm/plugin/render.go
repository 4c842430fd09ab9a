package plugin

import (
	"fmt"
	"go/format"
	"io"
	"runtime"
	"sync"

	"google.golang.org/protobuf/compiler/protogen"

	"github.com/sw4rm/sw4rm-go/protoc-gen-sw4rm/schema"
)

// render writes the files' code as gofmt would, several at a time, in their order. Each is formatted once, here.
func (g generator) render(s settings, files []*schema.File) ([]string, error) {
	contents := make([]string, len(files))
	errs := make([]error, len(files))
	next := make(chan int)
	var group sync.WaitGroup
	for range min(len(files), runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := range next {
				contents[i], errs[i] = g.renderFile(s, files[i])
			}
		})
	}
	for i := range files {
		next <- i
	}
	close(next)
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return contents, nil
}

func (g generator) renderFile(s settings, f *schema.File) (content string, err error) {
	defer g.recovered(s, " in the code for "+contents(f), &err)
	source, err := g.emit(f)
	if err != nil {
		return "", err
	}
	formatted, err := format.Source(source)
	if err != nil {
		return "", fmt.Errorf("protoc-gen-sw4rm: internal error in the code for %s: %w. Fix: report it with the schema", contents(f), err)
	}
	return string(formatted), nil // exactly as large as it is
}

// place gives f's code to protogen, which names the file. It would format the code again, file after file, so it gets an
// empty file in its place, unless it needs the code for annotations.
func place(gen *protogen.Plugin, f *schema.File, content string, annotated bool) error {
	out := gen.NewGeneratedFile(f.Package.FilePrefix+suffix, f.Package.Path)
	if !annotated {
		out.P("package ", f.Package.Name)
		return nil
	}
	annotate(out, f)
	_, err := io.WriteString(out, content)
	return err
}
