package registry

import (
	"testing"

	"understudy/internal/dr"
)

func TestRemoteURLs(t *testing.T) {
	for url, spool := range map[string]int64{
		"s3://vaults/shop?region=eu-1":                        4 << 30,
		"s3://vaults/shop?spool=10GiB":                        10 << 30,
		"azblob://account/container?spool=off":                0,
		"azblob://account/container/shop?endpoint=http://a/b": 4 << 30,
		"file:///srv/vault":                                   0,
	} {
		if got, err := VaultURL(url); err != nil || got != url || Spool(url) != spool {
			t.Errorf("%s: %s, spool of %d, %v", url, got, Spool(url), err)
		}
	}
	for _, url := range []string{
		"s3://", "azblob://account", "s3://key:secret@bucket", "s3://bucket?colour=red", "s3://bucket?endpoint=host", "s3://bucket?spool=much", "azblob://a/c?region=eu",
	} {
		if _, err := VaultURL(url); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%s: %v", url, err)
		}
	}
}
