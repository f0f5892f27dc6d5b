{{- /* What the worker, the jobs and the test have in common. */ -}}
{{- define "moderation-worker.podSecurity" -}}
automountServiceAccountToken: false
# A Service named moderation-... would otherwise put MODERATION_..._SERVICE_HOST among the settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "moderation-worker.container" -}}
image: {{ include "moderation-worker.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "moderation-worker.smallResources" -}}
resources:
  requests: {cpu: 100m, memory: 512Mi}
  limits: {memory: 4Gi}
{{- end }}

{{- define "moderation-worker.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.tmpSize }}}
{{- with .Values.kafka.tls.caSecret }}
- name: kafka-ca
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.kafka.tls.clientSecret }}
- name: kafka-client
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- if include "moderation-worker.hasSasl" . }}
- name: kafka-login
  secret: {secretName: {{ include "moderation-worker.kafkaSecret" . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- define "moderation-worker.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.kafka.tls.caSecret }}
- {name: kafka-ca, mountPath: /etc/moderation/kafka/ca, readOnly: true}
{{- end }}
{{- if .Values.kafka.tls.clientSecret }}
- {name: kafka-client, mountPath: /etc/moderation/kafka/client, readOnly: true}
{{- end }}
{{- if include "moderation-worker.hasSasl" . }}
- {name: kafka-login, mountPath: /etc/moderation/kafka/login, readOnly: true}
{{- end }}
{{- end }}

{{- define "moderation-worker.cacheVolume" -}}
{{- if not .Values.standIn }}
- name: models
  persistentVolumeClaim: {claimName: {{ include "moderation-worker.claim" . }}}
{{- end }}
{{- end }}

{{- define "moderation-worker.fetchContainer" -}}
- name: fetch-models
  {{- include "moderation-worker.container" . | nindent 2 }}
  args: [models, fetch]
  env:
    {{- include "moderation-worker.settingsEnv" . | nindent 4 }}
    {{- include "moderation-worker.modelEnv" . | nindent 4 }}
    - name: MODERATION_HF_TOKEN
      valueFrom:
        secretKeyRef: {name: {{ include "moderation-worker.hubSecret" . }}, key: {{ .Values.hub.tokenKey }}}
  {{- include "moderation-worker.smallResources" . | nindent 2 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: models, mountPath: /var/cache/moderation}
{{- end }}
