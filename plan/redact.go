package plan

import (
	"fmt"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Redacted stands where a secret stood.
const Redacted = "REDACTED"

// RedactYAML returns the plan without its secrets: the values of password keys
// and the passwords in URLs. It keeps comments and works on plans that name an
// environment variable, whose name is no secret.
func RedactYAML(data []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("redact plan: %w", err)
	}
	redactNode(&doc)
	out, err := yaml.Marshal(&doc)
	if err != nil {
		return nil, fmt.Errorf("redact plan: %w", err)
	}
	return out, nil
}

func redactNode(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode {
		if clean := RedactURL(n.Value); clean != n.Value {
			n.SetString(clean)
		}
		return
	}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && isSecret(n.Content[i-1].Value) {
			if !envName.MatchString(child.Value) {
				child.SetString(Redacted)
			}
			continue
		}
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == "env" {
			redactEnv(child)
		}
		redactNode(child)
	}
}

// redactEnv: of an environment, the values whose names say that they are secrets.
func redactEnv(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 1; i < len(n.Content); i += 2 {
		if v := n.Content[i]; isSecretVar(n.Content[i-1].Value) && !envName.MatchString(v.Value) {
			v.SetString(Redacted)
		}
	}
}

// isSecret: the value of this key is a password, also one of a backend's own options.
func isSecret(key string) bool { return key == "password" || strings.HasSuffix(key, "_password") }

// RedactURL takes the password out of a URL; anything else stays as it is.
func RedactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	if _, has := u.User.Password(); !has {
		return s
	}
	u.User = url.UserPassword(u.User.Username(), Redacted)
	return u.String()
}
