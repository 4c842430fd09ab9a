package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/gofeaturespb"

	optionspb "github.com/sw4rm/sw4rm-go/proto/sw4rm/options/v1"
)

// optionsFile is imported by schemas, and found without being there.
const optionsFile = "sw4rm/options/v1/options.proto"

// protoExt is how the names of schemas' sources end.
const protoExt = ".proto"

// read reads all paths.
func (src Source) read(ctx context.Context) (descriptors, error) {
	if len(src.Paths) == 0 {
		return descriptors{}, &Error{Problem: "is not given", Fix: "name a folder with .proto files, or a file that buf build -o has written, with --schema"}
	}
	var set descriptors
	seen := map[string]bool{}
	add := func(files []*descriptorpb.FileDescriptorProto, own []string) {
		for _, f := range files {
			if !seen[f.GetName()] {
				seen[f.GetName()] = true
				set.files = append(set.files, f)
			}
		}
		for _, path := range own {
			if !slices.Contains(set.own, path) {
				set.own = append(set.own, path)
			}
		}
	}
	var sources []string
	imports := slices.Clone(src.Imports)
	for _, path := range src.Paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return set, &Error{Path: path, Problem: "cannot be read", Fix: "name a folder or a file that is there", Err: err}
		case info.IsDir():
			found, err := sourcesIn(path)
			if err != nil {
				return set, err
			}
			sources = append(sources, found...)
			imports = append(imports, path)
		case strings.HasSuffix(path, protoExt):
			name, root := below(path, src.Imports)
			sources = append(sources, name)
			imports = append(imports, root)
		default:
			files, own, err := readSet(path)
			if err != nil {
				return set, err
			}
			add(files, own)
		}
	}
	if len(sources) > 0 {
		files, err := compile(ctx, imports, sources)
		if err != nil {
			return set, err
		}
		add(files, sources)
	}
	return set, nil
}

// sourcesIn returns the .proto files in a folder, named as those import each other.
func sourcesIn(dir string) ([]string, error) {
	var found []string
	root, err := filepath.EvalSymlinks(dir) // which is not done on the way
	if err != nil {
		return nil, &Error{Path: dir, Problem: "cannot be read", Fix: "name a folder that you may read", Err: err}
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, protoExt) {
			return err
		}
		name, err := filepath.Rel(root, path)
		// The options are the module's own, wherever they were written to.
		if name = filepath.ToSlash(name); name != optionsFile {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		return nil, &Error{Path: dir, Problem: "cannot be read", Fix: "name a folder that you may read", Err: err}
	}
	if len(found) == 0 {
		return nil, &Error{Path: dir, Problem: "has no .proto file", Fix: "name the folder that schemas are imported from"}
	}
	return found, nil
}

// below names a file as others import it: below one of the folders for imports, else below its own.
func below(path string, imports []string) (name, root string) {
	for _, dir := range imports {
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel), dir
		}
	}
	return filepath.Base(path), filepath.Dir(path)
}

// compile returns the files with all that they import.
func compile(ctx context.Context, imports, sources []string) ([]*descriptorpb.FileDescriptorProto, error) {
	features := protodesc.ToFileDescriptorProto(gofeaturespb.File_google_protobuf_go_features_proto)
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
			protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
				switch path {
				case optionsFile:
					return protocompile.SearchResult{Source: strings.NewReader(optionspb.Source)}, nil
				case features.GetName():
					return protocompile.SearchResult{Proto: features}, nil
				}
				return protocompile.SearchResult{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
			}),
			&protocompile.SourceResolver{ImportPaths: imports},
		}),
		SourceInfoMode: protocompile.SourceInfoStandard | protocompile.SourceInfoExtraOptionLocations,
	}
	compiled, err := compiler.Compile(ctx, sources...)
	if err != nil {
		return nil, &Error{
			Problem: "does not compile", Fix: "mend it, or name the folders with what it imports by --import; buf build -o writes a file that has everything", Err: err,
		}
	}
	var files []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		files = append(files, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range compiled {
		add(f)
	}
	return files, nil
}

// readSet reads a google.protobuf.FileDescriptorSet. Its own files are those that are no well-known ones.
func readSet(path string) (files []*descriptorpb.FileDescriptorProto, own []string, err error) {
	const fix = "write it with buf build -o schema.binpb, or protoc --include_imports --descriptor_set_out"
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, &Error{Path: path, Problem: "cannot be read", Fix: "name a file that you may read", Err: err}
	}
	var set descriptorpb.FileDescriptorSet
	// Options stay as they are written: what they mean is decided later.
	err = proto.UnmarshalOptions{Resolver: new(protoregistry.Types)}.Unmarshal(b, &set)
	if err == nil && len(set.GetFile()) == 0 {
		err = errors.New("it has no file")
	}
	if err != nil {
		return nil, nil, &Error{Path: path, Problem: "is no set of descriptors", Fix: fix, Err: err}
	}
	for _, f := range set.GetFile() {
		if name := f.GetName(); name != optionsFile && !strings.HasPrefix(name, "google/protobuf/") {
			own = append(own, name)
		}
	}
	if _, err := protodesc.NewFiles(&set); err != nil {
		return nil, nil, &Error{Path: path, Problem: "is not complete", Fix: fix, Err: err}
	}
	return sorted(set.GetFile()), own, nil
}

// sorted returns the files so that each follows what it imports.
func sorted(files []*descriptorpb.FileDescriptorProto) []*descriptorpb.FileDescriptorProto {
	byName := make(map[string]*descriptorpb.FileDescriptorProto, len(files))
	for _, f := range files {
		byName[f.GetName()] = f
	}
	var out []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var add func(f *descriptorpb.FileDescriptorProto)
	add = func(f *descriptorpb.FileDescriptorProto) {
		if f == nil || seen[f.GetName()] {
			return
		}
		seen[f.GetName()] = true
		for _, dep := range f.GetDependency() {
			add(byName[dep])
		}
		out = append(out, f)
	}
	for _, f := range files {
		add(f)
	}
	return out
}
