package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Samples are payloads by the name of their exchange.
type Samples map[string][]proto.Message

// ReadSamples reads payloads from the files METHOD.json, or package.Service.METHOD.json, of a folder: objects in protobuf's
// JSON mapping, one after another. Messages without a service have their own name in place of the method's. Errors are
// *Error. Without a folder there are none.
func ReadSamples(dir string, known []Exchange) (Samples, error) {
	samples := Samples{}
	if dir == "" {
		return samples, nil
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, &Error{Path: dir, Problem: "has no payloads", Fix: "name a folder that you may read with --payloads", Err: err}
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".json")
		if !ok {
			continue
		}
		x, err := named(name, known)
		if err == nil {
			samples[x.Name()], err = readFile(filepath.Join(dir, f.Name()), x)
		}
		if err != nil {
			return nil, &Error{
				Path: filepath.Join(dir, f.Name()), Problem: "has no payloads",
				Fix: "name it METHOD.json or package.Service.METHOD.json, and write objects in protobuf's JSON mapping into it", Err: err,
			}
		}
	}
	if len(samples) == 0 {
		return nil, &Error{Path: dir, Problem: "has no payloads", Fix: "name a folder with a file METHOD.json for each method that needs payloads of your own"}
	}
	return samples, nil
}

// named returns the only exchange that a file's name means.
func named(name string, known []Exchange) (Exchange, error) {
	var found []Exchange
	for _, x := range known {
		full := strings.ReplaceAll(x.Name(), "/", ".")
		if full == name || strings.HasSuffix(full, "."+name) {
			found = append(found, x)
		}
	}
	if len(found) != 1 {
		return Exchange{}, fmt.Errorf("%d exchanges are called %q", len(found), name)
	}
	return found[0], nil
}

func readFile(path string, x Exchange) ([]proto.Message, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	var all []proto.Message
	for objects := json.NewDecoder(f); ; {
		var object json.RawMessage
		err := objects.Decode(&object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", len(all)+1, err)
		}
		m := x.NewRequest()
		if err := protojson.Unmarshal(object, m); err != nil {
			return nil, fmt.Errorf("object %d: %w", len(all)+1, err)
		}
		all = append(all, m)
	}
	if len(all) == 0 {
		return nil, errors.New("it is empty")
	}
	return all, nil
}
