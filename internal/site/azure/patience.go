package azure

import (
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const (
	// maxPatience is the longest wait that an answer may ask for. Azure counts requests by windows of up to an hour.
	maxPatience = 15 * time.Minute
	maxThrottle = 20 // times that a request is put off
)

// patience waits as long as Azure asks for when there were too many requests: the client's own retries end after some
// seconds, and a failover or a look at an operation must not end for it. The caller's context bounds all of it.
type patience struct{}

// Do implements policy.Policy.
func (patience) Do(req *policy.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		resp, err := req.Clone(req.Raw().Context()).Next()
		if err != nil || resp.StatusCode != http.StatusTooManyRequests || try >= maxThrottle {
			return resp, err
		}
		wait := retryAfter(resp, time.Second<<min(try, 6))
		if wait > maxPatience {
			return resp, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that its connection is used again
		if err := resp.Body.Close(); err != nil {
			return nil, err
		}
		if err := pause(req.Raw().Context(), wait); err != nil {
			return nil, err
		}
		if err := req.RewindBody(); err != nil {
			return nil, err
		}
	}
}
