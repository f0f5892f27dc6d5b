{{- define "moderation-worker.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* 40 characters: suffixes such as -topics-<hash> still fit. */ -}}
{{- define "moderation-worker.fullname" -}}
{{- $name := include "moderation-worker.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "moderation-worker.selector" -}}
app.kubernetes.io/name: {{ include "moderation-worker.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "moderation-worker.labels" -}}
{{ include "moderation-worker.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "moderation-worker.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{- define "moderation-worker.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "moderation-worker.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "moderation-worker.kafkaSecret" -}}
{{- default (printf "%s-kafka" (include "moderation-worker.fullname" .)) .Values.kafka.sasl.existingSecret -}}
{{- end }}

{{- define "moderation-worker.hubSecret" -}}
{{- if or .Values.hub.existingSecret .Values.hub.token -}}
{{- default (printf "%s-hub" (include "moderation-worker.fullname" .)) .Values.hub.existingSecret -}}
{{- end }}
{{- end }}

{{- define "moderation-worker.claim" -}}
{{- default (printf "%s-models" (include "moderation-worker.fullname" .)) .Values.modelCache.existingClaim -}}
{{- end }}

{{- define "moderation-worker.hasTls" -}}{{ if hasSuffix "SSL" .Values.kafka.securityProtocol }}yes{{ end }}{{- end }}
{{- define "moderation-worker.hasSasl" -}}{{ if hasPrefix "SASL" .Values.kafka.securityProtocol }}yes{{ end }}{{- end }}
{{- define "moderation-worker.hasPolicies" -}}{{ if or .Values.policies .Values.policiesConfigMap }}yes{{ end }}{{- end }}

{{- define "moderation-worker.usesGpu" -}}{{ if and .Values.gpu.enabled (not .Values.standIn) }}yes{{ end }}{{- end }}

{{- /* What SIGTERM may take, with some seconds to commit, to leave the group and to end. */ -}}
{{- define "moderation-worker.graceSeconds" -}}
{{- add (ceil .Values.preStopSeconds) (ceil .Values.drainSeconds) 15 -}}
{{- end }}

{{- /* Helm reads all numbers as floats: 67108864 must not become 6.7108864e+07. */ -}}
{{- define "moderation-worker.text" -}}
{{- if and (kindIs "float64" .) (eq (float64 (int64 .)) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}
