package plugin

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/pluginpb"
)

// suffix ends the name of every generated file.
const suffix = "_sw4rm.pb.go"

// checkNames refuses files that would leave the output folder or overwrite each other.
func checkNames(files []*pluginpb.CodeGeneratorResponse_File) error {
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		name := f.GetName()
		code := strings.TrimSuffix(name, ".meta")
		switch {
		case !filepath.IsLocal(name) || path.Clean(name) != name || strings.ContainsFunc(name, outlaw) || !strings.HasSuffix(code, suffix):
			return fmt.Errorf("output file %q would not be inside the output folder. Fix: use a go_package and a file name without .. and special characters", name)
		case seen[name]:
			return fmt.Errorf("output file %q would be written twice. Fix: rename one of the schemas, or use paths=source_relative", name)
		}
		seen[name] = true
	}
	return nil
}

func outlaw(r rune) bool {
	return r == '\\' || r == ':' || !unicode.IsPrint(r)
}
