package measure

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxPage bounds a page; large Kubernetes components expose about 2 MB.
	maxPage = 8 << 20
	// maxPacked bounds it as it travels: base64 and its frame must fit a line of
	// the agent's protocol.
	maxPacked  = 700 << 10
	fetchLimit = 5 * time.Second
	// accept asks for the plain text format, not the protobuf one.
	accept = "text/plain;version=0.0.4"
)

// Page is what a URL answered.
type Page struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type"`
	// Packed is the body, compressed with gzip.
	Packed []byte `json:"packed"`
}

// fetch gets one page. It follows no redirect, so that what is read is what the
// plan names.
func fetch(ctx context.Context, p Fetch) (Page, error) {
	u, err := url.Parse(p.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return Page{}, fmt.Errorf("%q is not an http URL: %w", p.URL, ErrParams)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return Page{}, fmt.Errorf("fetch %s: %w", u.Redacted(), err)
	}
	req.Header.Set("Accept", accept)
	transport := &http.Transport{DisableKeepAlives: true} // nothing stays open on the node
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return Page{}, fmt.Errorf("fetch %s: %w", u.Redacted(), unwrapURL(err))
	}
	defer res.Body.Close()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	n, err := io.Copy(zip, io.LimitReader(res.Body, maxPage+1))
	if err := errors.Join(err, zip.Close()); err != nil {
		return Page{}, fmt.Errorf("fetch %s: %w", u.Redacted(), err)
	}
	if n > maxPage || packed.Len() > maxPacked {
		return Page{}, fmt.Errorf("fetch %s: more than %d bytes, or %d compressed", u.Redacted(), maxPage, maxPacked)
	}
	return Page{Status: res.StatusCode, ContentType: res.Header.Get("Content-Type"), Packed: packed.Bytes()}, nil
}

// unwrapURL drops the client's own "Get URL:", which repeats the address.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Text unpacks the body.
func (p Page) Text() ([]byte, error) {
	zip, err := gzip.NewReader(bytes.NewReader(p.Packed))
	if err != nil {
		return nil, fmt.Errorf("unpack page: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(zip, maxPage+1))
	if err == nil && len(text) > maxPage {
		err = fmt.Errorf("more than %d bytes", maxPage)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack page: %w", err)
	}
	return text, nil
}
