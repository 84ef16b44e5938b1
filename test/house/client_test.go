package house

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"understudy/internal/api"
	"understudy/internal/api/clientgen"
)

// The Go client, which the command line uses, has a method for each operation, as its handler is now.
func TestClientIsCurrent(t *testing.T) {
	_, described := api.New(nil, api.Options{})
	want, err := clientgen.File(described)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root(t), "internal/api/client/operations.go"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("internal/api/client/operations.go is not what the operations give: go generate ./internal/api/client (%v)", err)
	}
}
