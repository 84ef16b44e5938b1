package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"understudy/internal/dr"
)

// A Request is an HTTP request to send.
type Request struct {
	Method  string
	URL     string
	Headers map[string]string
	Body    string
	Expect  []int  // statuses that are a success; any of 2xx when empty
	Key     string // sent as Idempotency-Key
	Output  *Buffer
}

// maxAnswer bounds how much of an answer is read, in bytes.
const maxAnswer = 1 << 20

// Send sends the request and reads the answer into Output. A status that was not expected is dr.KindUnavailable when it
// may pass (429 and 5xx), else dr.KindInvalid. Redirects are not followed.
func (r Request) Send(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		return dr.WithHint(err, dr.KindInvalid, "")
	}
	req.Header.Set("User-Agent", "understudy")
	req.Header.Set("Idempotency-Key", r.Key)
	for name, value := range r.Headers {
		req.Header.Set(name, value)
		if strings.EqualFold(name, "Host") {
			req.Host = value
		}
	}
	// A redirect may turn a change into a question (302 makes a GET of a PUT), whose answer would pass for success, and
	// would take headers with secrets to where the plan did not send them.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL, which is in the plan
		}
		return dr.WithHint(fmt.Errorf("reach %s: %w", req.URL.Host, err), dr.KindUnavailable, "")
	}
	defer resp.Body.Close()
	if _, err := io.Copy(r.Output, io.LimitReader(resp.Body, maxAnswer)); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return dr.WithHint(fmt.Errorf("read the answer of %s: %w", req.URL.Host, err), dr.KindUnavailable, "")
	}
	if slices.Contains(r.Expect, resp.StatusCode) || len(r.Expect) == 0 && resp.StatusCode/100 == 2 {
		return nil
	}
	kind := dr.KindInvalid
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode/100 == 5 {
		kind = dr.KindUnavailable
	}
	hint := ""
	if to, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
		hint = "redirects are not followed: give the plan the URL that it leads to, at " + to.Host
	}
	return dr.WithHint(fmt.Errorf("%s answered %d %s", req.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode)), kind, hint)
}
