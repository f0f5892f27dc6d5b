{{- define "moderation-worker.kafkaEnv" -}}
{{- $kafka := .Values.kafka -}}
- {name: MODERATION_BOOTSTRAP_SERVERS, value: {{ $kafka.bootstrapServers | quote }}}
- {name: MODERATION_GROUP, value: {{ $kafka.group | quote }}}
- {name: MODERATION_SECURITY_PROTOCOL, value: {{ $kafka.securityProtocol }}}
{{- if $kafka.tls.caSecret }}
- {name: MODERATION_SSL_CA_FILE, value: /etc/moderation/kafka/ca/{{ $kafka.tls.caKey }}}
{{- end }}
{{- if $kafka.tls.clientSecret }}
- {name: MODERATION_SSL_CERT_FILE, value: /etc/moderation/kafka/client/{{ $kafka.tls.certKey }}}
- {name: MODERATION_SSL_KEY_FILE, value: /etc/moderation/kafka/client/{{ $kafka.tls.keyKey }}}
{{- with $kafka.tls.keyPasswordKey }}
- {name: MODERATION_SSL_KEY_PASSWORD_FILE, value: /etc/moderation/kafka/client/{{ . }}}
{{- end }}
{{- end }}
{{- if include "moderation-worker.hasSasl" . }}
- {name: MODERATION_SASL_MECHANISM, value: {{ $kafka.sasl.mechanism }}}
{{- if eq $kafka.sasl.mechanism "OAUTHBEARER" }}
- {name: MODERATION_SASL_OAUTH_TOKEN_URL, value: {{ $kafka.sasl.oauth.tokenUrl | quote }}}
- {name: MODERATION_SASL_OAUTH_CLIENT_ID, value: {{ $kafka.sasl.oauth.clientId | quote }}}
- {name: MODERATION_SASL_OAUTH_CLIENT_SECRET_FILE, value: /etc/moderation/kafka/login/{{ $kafka.sasl.passwordKey }}}
{{- with $kafka.sasl.oauth.scope }}
- {name: MODERATION_SASL_OAUTH_SCOPE, value: {{ . | quote }}}
{{- end }}
{{- else }}
- {name: MODERATION_SASL_USERNAME, value: {{ $kafka.sasl.username | quote }}}
- {name: MODERATION_SASL_PASSWORD_FILE, value: /etc/moderation/kafka/login/{{ $kafka.sasl.passwordKey }}}
{{- end }}
{{- end }}
- {name: MODERATION_INPUT_TOPIC, value: {{ .Values.topics.input | quote }}}
- {name: MODERATION_SAFE_TOPIC, value: {{ .Values.topics.safe | quote }}}
- {name: MODERATION_UNSAFE_TOPIC, value: {{ .Values.topics.unsafe | quote }}}
- {name: MODERATION_REVIEW_TOPIC, value: {{ .Values.topics.review | quote }}}
- {name: MODERATION_SHADOW_TOPIC, value: {{ .Values.topics.shadow | quote }}}
- {name: MODERATION_DEAD_LETTER_TOPIC, value: {{ .Values.topics.deadLetter | quote }}}
{{- with .Values.topics.reviews }}
- {name: MODERATION_REVIEWS_TOPIC, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "moderation-worker.modelEnv" -}}
{{- if .Values.standIn }}
- {name: MODERATION_LLAMA_GUARD_MODEL, value: stand-in}
- {name: MODERATION_PROMPT_GUARD_MODEL, value: stand-in}
{{- else }}
{{- with .Values.models.llamaGuard }}
- {name: MODERATION_LLAMA_GUARD_MODEL, value: {{ .model | quote }}}
{{- with .revision }}
- {name: MODERATION_LLAMA_GUARD_REVISION, value: {{ . | quote }}}
{{- end }}
- {name: MODERATION_LLAMA_GUARD_WEIGHTS, value: {{ .weights }}}
{{- end }}
{{- with .Values.models.promptGuard }}
- {name: MODERATION_PROMPT_GUARD_MODEL, value: {{ .model | quote }}}
{{- with .revision }}
- {name: MODERATION_PROMPT_GUARD_REVISION, value: {{ . | quote }}}
{{- end }}
{{- end }}
- {name: MODERATION_MODEL_CACHE, value: /var/cache/moderation/hub}
{{- end }}
{{- end }}

{{- /* Read-only root: all that libraries want to write goes to /tmp. */ -}}
{{- define "moderation-worker.settingsEnv" -}}
- {name: HOME, value: /tmp}
- {name: HF_HOME, value: /tmp/huggingface}
- {name: HF_XET_CHUNK_CACHE_SIZE_BYTES, value: "0"}
{{- range $name, $value := .Values.settings }}
- {name: MODERATION_{{ upper $name }}, value: {{ include "moderation-worker.text" $value | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "moderation-worker.workerEnv" -}}
{{- include "moderation-worker.kafkaEnv" . }}
{{ include "moderation-worker.modelEnv" . | trim }}
{{- if not .Values.standIn }}
- {name: MODERATION_OFFLINE, value: "true"} # what the init container or the job has fetched, and nothing else
{{- end }}
- {name: MODERATION_DEVICE, value: {{ ternary "cuda" "cpu" (eq "yes" (include "moderation-worker.usesGpu" .)) }}} # never the CPU by accident
- {name: MODERATION_JOURNAL_DIR, value: /run/moderation}
- {name: MODERATION_DRAIN_SECONDS, value: {{ include "moderation-worker.text" .Values.drainSeconds | quote }}}
- {name: MODERATION_WEB_PORT, value: "6066"}
- {name: MODERATION_LOG_FORMAT, value: json}
{{- if include "moderation-worker.hasPolicies" . }}
- {name: MODERATION_POLICIES_FILE, value: /etc/moderation/policies} # every *.toml in it
{{- end }}
{{ include "moderation-worker.settingsEnv" . }}
{{- end }}
