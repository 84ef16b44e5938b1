package house

import (
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"understudy/internal/api"
)

// Every operation of the API says who may use it. One that does not is refused to everyone, which its own tests may not see.
func TestOperationsSayWhoMay(t *testing.T) {
	_, a := api.New(nil, api.Options{})
	for path, item := range a.OpenAPI().Paths {
		for _, o := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch, item.Head, item.Options} {
			if o == nil {
				continue
			}
			if _, ok := api.VerbsOf(o); !ok {
				t.Errorf("%s of %s names no verb: add it to internal/api/needs.go, then go test ./internal/api -run AccessDoc -update", o.OperationID, path)
			}
		}
	}
}
