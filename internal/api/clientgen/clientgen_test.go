package clientgen_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"understudy/internal/api"
	"understudy/internal/api/clientgen"
)

// An operation that a client could not have is found when it is added, and so is an exception that is over.
func TestRefused(t *testing.T) {
	type secret struct{ A int }
	type answer struct{ Body secret }
	type page struct {
		Body []byte
	}
	_, a := api.New(nil, api.Options{})
	nothing := func(id, path string) huma.Operation {
		return huma.Operation{Method: http.MethodGet, Path: path, OperationID: id}
	}
	huma.Register(a, nothing("no-name", "/v1/no-name"), func(context.Context, *struct{}) (*answer, error) { return nil, nil })
	huma.Register(a, nothing("no-json", "/v1/no-json"), func(context.Context, *struct{}) (*page, error) { return nil, nil })
	huma.Register(a, nothing("no-place", "/no-place"), func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
	_, err := clientgen.File(a)
	for _, want := range []string{"no-name: a client cannot name the type clientgen_test.secret", "no-json: no Go type for string", "no-place: its path does not begin with /v1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	_, err = clientgen.File(humago.New(http.NewServeMux(), huma.DefaultConfig("empty", "1")))
	if err == nil || !strings.Contains(err.Error(), "watch-run is no operation") {
		t.Error(err)
	}
}
