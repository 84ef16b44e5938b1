package azure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// rest speaks to Resource Manager.
type rest struct {
	client     *arm.Client
	credential azcore.TokenCredential
	endpoint   string
	dir        string            // where operations that are under way are kept
	poll       time.Duration     // between two looks at an operation
	versions   map[string]string // of the API, by the lower-case type of a resource, or its namespace
	record     *recorder         // takes what would change something, instead of Azure; nil when it is meant
}

// versions are those of the API that the site was written for.
func versions() map[string]string {
	return map[string]string{
		"microsoft.compute":                      "2024-07-01",
		"microsoft.compute/disks":                "2023-10-02",
		"microsoft.compute/snapshots":            "2023-10-02",
		"microsoft.network":                      "2024-05-01",
		"microsoft.authorization":                "2020-05-01",
		"microsoft.authorization/permissions":    "2022-04-01",
		"microsoft.insights":                     "2022-06-01",
		"microsoft.update.admin":                 "2016-05-01",
		"microsoft.infrastructureinsights.admin": "2016-05-01",
		"":                                       "2021-04-01",
	}
}

// version finds the API version for a path.
func (r *rest) version(path string) string {
	_, rest, ok := cutLast(strings.ToLower(path), "/providers/")
	if !ok {
		if v := r.versions[subscriptionLocations]; v != "" && strings.HasSuffix(strings.ToLower(path), "/locations") {
			return v
		}
		return r.versions[""]
	}
	namespace, rest, _ := strings.Cut(rest, "/")
	kind, _, _ := strings.Cut(rest, "/")
	if v := r.versions[namespace+"/"+kind]; v != "" {
		return v
	}
	return r.versions[namespace]
}

func cutLast(text, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// A call is a request to Resource Manager.
type call struct {
	method, path string
	query        url.Values
	body         any
}

// send sends a request and returns the answer when its status is one of success. The caller closes the body.
func (r *rest) send(ctx context.Context, c call) (*http.Response, error) {
	if r.record != nil {
		if resp, err := r.record.answer(c, r.version(c.path)); resp != nil || err != nil {
			return resp, err
		}
	}
	q := url.Values{"api-version": {r.version(c.path)}}
	for k, v := range c.query {
		q[k] = v
	}
	req, err := runtime.NewRequest(ctx, c.method, r.endpoint+c.path+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	req.Raw().Header.Set("Accept", "application/json")
	if c.body != nil {
		if err := runtime.MarshalAsJSON(req, c.body); err != nil {
			return nil, err
		}
	}
	resp, err := r.client.Pipeline().Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, runtime.NewResponseError(resp)
	}
	return resp, nil
}

// get reads a resource.
func (r *rest) get(ctx context.Context, path string, query url.Values, into any) error {
	resp, err := r.send(ctx, call{http.MethodGet, path, query, nil})
	if err != nil {
		return err
	}
	return runtime.UnmarshalAsJSON(resp, into)
}

// list reads all pages of a list.
func list[T any](ctx context.Context, r *rest, path string, query url.Values) ([]T, error) {
	var all []T
	var page struct {
		Value    []T    `json:"value"`
		NextLink string `json:"nextLink"`
	}
	resp, err := r.send(ctx, call{http.MethodGet, path, query, nil})
	for {
		if err != nil {
			return nil, err
		}
		page.Value, page.NextLink = nil, ""
		if err := runtime.UnmarshalAsJSON(resp, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		if page.NextLink == "" {
			return all, nil
		}
		var req *policy.Request
		if req, err = runtime.NewRequest(ctx, http.MethodGet, page.NextLink); err != nil {
			return nil, err
		}
		if resp, err = r.client.Pipeline().Do(req); err == nil && resp.StatusCode != http.StatusOK {
			err = runtime.NewResponseError(resp)
		}
	}
}

// run does something that may go on after it was accepted, and returns when it ended. Who died in the middle goes on
// waiting for the same operation: the poller's token is on disk before it is waited for.
func (r *rest) run(ctx context.Context, c call, into any) error {
	file := filepath.Join(r.dir, operationKey(c))
	if r.record == nil {
		if again, err := r.takeUp(ctx, file, into); !again {
			return err
		}
	}
	resp, err := r.send(ctx, c)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusNoContent {
		return resp.Body.Close()
	}
	poller, err := runtime.NewPoller(resp, r.client.Pipeline(), &runtime.NewPollerOptions[json.RawMessage]{FinalStateVia: finalState(c.method)})
	if err != nil {
		return err
	}
	if !poller.Done() {
		token, err := poller.ResumeToken()
		if err != nil {
			return err
		}
		if err := r.keep(file, token); err != nil {
			return err
		}
	}
	return r.wait(ctx, poller, file, into)
}

// takeUp waits for an operation that an earlier process began and did not see the end of. Only one that still goes on is
// the one that is asked for now: one that ended may have been undone since, and is asked for again.
func (r *rest) takeUp(ctx context.Context, file string, into any) (again bool, err error) {
	token, err := os.ReadFile(file)
	if err != nil {
		return true, nil
	}
	poller, err := runtime.NewPollerFromResumeToken(string(token), r.client.Pipeline(), &runtime.NewPollerFromResumeTokenOptions[json.RawMessage]{})
	if err == nil {
		_, err = poller.Poll(ctx)
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil || poller.Done() {
		return true, forget(file)
	}
	return false, r.wait(ctx, poller, file, into)
}

// sweep forgets operations that nobody asked for again.
func (r *rest) sweep(before time.Time) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			_ = os.Remove(filepath.Join(r.dir, e.Name())) // the next one tries again
		}
	}
}

func finalState(method string) runtime.FinalStateVia {
	if method == http.MethodPost {
		return runtime.FinalStateViaLocation
	}
	return ""
}

func operationKey(c call) string {
	sum := sha256.Sum256([]byte(c.method + " " + strings.ToLower(c.path)))
	return fmt.Sprintf("%x", sum[:16])
}

// keep writes a token so that a later process finds it.
func (r *rest) keep(file, token string) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file+".part", []byte(token), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}

// wait waits for an operation. Its token is removed unless the caller gave up waiting.
func (r *rest) wait(ctx context.Context, poller *runtime.Poller[json.RawMessage], file string, into any) error {
	for !poller.Done() {
		resp, err := poller.Poll(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return errors.Join(err, forget(file))
		}
		if poller.Done() {
			break
		}
		if err := pause(ctx, retryAfter(resp, r.poll)); err != nil {
			return err
		}
	}
	result, err := poller.Result(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = errors.Join(err, forget(file))
	if err == nil && into != nil && len(result) > 0 {
		err = json.Unmarshal(result, into)
	}
	return err
}

func forget(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// retryAfter is how long an answer asks to wait, or otherwise.
func retryAfter(resp *http.Response, otherwise time.Duration) time.Duration {
	for name, unit := range map[string]time.Duration{"Retry-After-Ms": time.Millisecond, "Retry-After": time.Second} {
		var n int
		if _, err := fmt.Sscan(resp.Header.Get(name), &n); err == nil && n >= 0 {
			return time.Duration(n) * unit
		}
	}
	return otherwise
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// message is what an error of Azure says, without the request.
func message(e *azcore.ResponseError) string {
	if e.RawResponse == nil {
		return e.Error()
	}
	body, err := runtime.Payload(e.RawResponse)
	if err != nil {
		return err.Error()
	}
	var answer struct {
		Error   struct{ Message string }
		Message string
	}
	if json.Unmarshal(body, &answer) == nil && answer.Error.Message+answer.Message != "" {
		return answer.Error.Message + answer.Message
	}
	text, _ := io.ReadAll(io.LimitReader(bytes.NewReader(body), 300)) // from memory
	return strings.Join(strings.Fields(string(text)), " ")
}
