package plan

import (
	"bytes"
	"encoding/json"
	"net/url"
	"sort"
	"strings"
)

// Redacted stands where a secret stood.
const Redacted = "REDACTED"

// Redactor returns a function that removes the plan's secrets from any text
// before it is written down: the plan itself, recorded orders, error messages.
// It knows a secret in its plain, JSON-quoted and URL-escaped forms.
func (p *Plan) Redactor() func([]byte) []byte {
	var secrets []string
	add := func(s string) {
		if s == "" {
			return
		}
		quoted, _ := json.Marshal(s)
		secrets = append(secrets, s, strings.Trim(string(quoted), `"`), url.QueryEscape(s), url.PathEscape(s))
	}
	add(p.Lock.Password)
	urls := p.Lock.Endpoints
	if p.Resource != nil {
		add(p.Resource.Password)
		urls = append(append([]string{p.Resource.URL}, urls...), p.Resource.Endpoints...)
	}
	for _, raw := range urls {
		if u, err := url.Parse(raw); err == nil && u.User != nil {
			password, _ := u.User.Password()
			add(password)
		}
	}
	// Longest first: one secret may be part of another form.
	sort.Slice(secrets, func(i, j int) bool { return len(secrets[i]) > len(secrets[j]) })
	return func(text []byte) []byte {
		for _, s := range secrets {
			text = bytes.ReplaceAll(text, []byte(s), []byte(Redacted))
		}
		return text
	}
}
