package blob

import (
	"context"
	"net/http"
	"time"
)

// A Grant lets who has no credentials of a store make one kind of request for one object, with any HTTP client.
type Grant struct {
	Method  string      `json:"method"` // GET, also of a Range; or PUT, whose body is the object
	URL     string      `json:"url"`
	Header  http.Header `json:"header,omitempty"` // to be sent along
	Expires time.Time   `json:"expires"`
}

// A Granter is a Store that gives out grants. They cannot be taken back, so they should end soon.
type Granter interface {
	// GrantRead permits reading an object.
	GrantRead(ctx context.Context, name string, lifetime time.Duration) (Grant, error)

	// GrantCreate permits creating an object that does not exist.
	GrantCreate(ctx context.Context, name string, lifetime time.Duration) (Grant, error)
}
