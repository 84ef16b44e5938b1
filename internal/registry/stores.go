package registry

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/azblob"
	"understudy/internal/vault/blob/s3"
)

// Kinds of place that are no folder.
const (
	schemeS3    = "s3"
	schemeAzure = "azblob"
)

// defaultSpool is how much a spool holds unless the vault's URL says otherwise, in bytes.
const defaultSpool = 4 << 30

// openTime is how long a store may take to answer when it is opened.
const openTime = time.Minute

// A remote is a vault's place in an object store.
type remote struct {
	scheme, host, path string
	query              url.Values
}

// parseRemote reads the URL of a vault in an object store; ok is false for another kind of place.
func parseRemote(vaultURL string) (r remote, ok bool, err error) {
	u, err := url.Parse(vaultURL)
	if err != nil || u.Scheme != schemeS3 && u.Scheme != schemeAzure {
		return r, false, nil
	}
	r = remote{u.Scheme, u.Host, strings.Trim(u.Path, "/"), u.Query()}
	bad := func(hint, format string, args ...any) (remote, bool, error) {
		return r, true, dr.WithHint(fmt.Errorf("vault %s: %w", u.Redacted(), fmt.Errorf(format, args...)), dr.KindInvalid, hint)
	}
	form, known := "s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION", []string{"endpoint", "region", "spool"}
	if r.scheme == schemeAzure {
		form, known = "azblob://ACCOUNT/CONTAINER/PREFIX?endpoint=https://HOST/ACCOUNT", []string{"endpoint", "spool"}
	}
	for _, key := range slices.Sorted(maps.Keys(r.query)) {
		if !slices.Contains(known, key) {
			return bad(form, "unknown setting %q", key)
		}
	}
	switch e := r.query.Get("endpoint"); {
	case u.User != nil:
		return bad("credentials come from the environment: AWS_ACCESS_KEY_ID, AZURE_STORAGE_KEY", "it holds credentials, and is kept where others read it")
	case r.host == "" || r.scheme == schemeAzure && r.path == "":
		return bad(form, "it names no bucket or container")
	case e != "" && !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://"):
		return bad(form, "endpoint %q is no http URL", e)
	}
	if _, err := r.spool(); err != nil {
		return bad("spool=10GiB, or spool=off", "spool: %v", err)
	}
	return r, true, nil
}

// spool is how much may wait nearby while the store is away, in bytes.
func (r remote) spool() (int64, error) {
	switch size := r.query.Get("spool"); size {
	case "":
		return defaultSpool, nil
	case "off":
		return 0, nil
	default:
		return dr.ParseSize(size)
	}
}

// VaultProvider is the kind of store that a vault is in: s3, azblob or file.
func VaultProvider(vaultURL string) string {
	if r, ok, _ := parseRemote(vaultURL); ok {
		return r.scheme
	}
	return "file"
}

// Spool is how much of what goes to a vault may wait near its source while the vault cannot be reached, in bytes; 0 for
// none, as for a vault in a folder.
func Spool(vaultURL string) int64 {
	r, ok, err := parseRemote(vaultURL)
	if !ok || err != nil {
		return 0
	}
	size, _ := r.spool() // parsed before
	return size
}

// open opens the store.
func (r remote) open(create bool) (blob.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	endpoint := r.query.Get("endpoint")
	if r.scheme == schemeS3 {
		return s3.Open(ctx, s3.Config{Bucket: r.host, Prefix: r.path, Endpoint: strings.TrimPrefix(strings.TrimPrefix(endpoint, "https://"), "http://"),
			Insecure: strings.HasPrefix(endpoint, "http://"), Region: cmp.Or(r.query.Get("region"), os.Getenv("AWS_REGION"))}, create)
	}
	container, prefix, _ := strings.Cut(r.path, "/")
	return azblob.Open(ctx, azblob.Config{Account: r.host, Container: container, Prefix: prefix, Endpoint: endpoint, Key: os.Getenv("AZURE_STORAGE_KEY")}, create)
}
